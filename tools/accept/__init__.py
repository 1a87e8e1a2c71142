"""Acceptance of a deployment: the whole loop once in a group of its own, and what only a live account can show."""

"""Rendering: pages, mails, messages."""

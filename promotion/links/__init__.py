"""Signed tokens of links and sessions, and the addresses of pages."""

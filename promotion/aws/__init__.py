"""Adapters: one folder or module for each AWS service, each behind a Protocol of a lower layer."""

"""Adapters: one module for each AWS service, each behind a Protocol of a lower layer."""

"""Containers of models without Docker: which images this machine runs, and by which commands."""

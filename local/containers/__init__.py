"""Containers of models without Docker: the supported images, and their commands."""

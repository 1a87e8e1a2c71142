"""Code shared by the handlers."""

"""Published clients, each in an environment of its own, unchanged, against this project's server."""

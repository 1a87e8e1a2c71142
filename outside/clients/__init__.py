"""Published clients, each in an environment of its own, unchanged, against a server of ours."""

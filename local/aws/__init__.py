"""AWS on one port: moto behind a front that identifies callers, and enforces their roles' policies."""

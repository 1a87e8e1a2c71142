"""AWS on one port: moto behind a proxy that identifies callers and enforces their roles' policies."""

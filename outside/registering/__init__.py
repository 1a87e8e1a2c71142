"""Registering as docs/registering.md says, with the SDKs as they are published."""

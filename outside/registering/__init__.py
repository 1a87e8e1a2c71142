"""The snippets of docs/registering.md, with the published SDKs."""

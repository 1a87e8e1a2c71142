"""Client for pipelines: resolve, the live record, its signature, the artifact's digests."""

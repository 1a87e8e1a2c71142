"""What a pipeline installs: resolve, the live record, its signature, the artifact's digests."""

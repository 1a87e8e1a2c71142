"""S3: artifacts, their copies, attestations and pictures."""

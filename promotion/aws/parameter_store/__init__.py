"""Parameter Store: live records, histories of versions, and the archive of histories in S3."""

"""What promotion.toml may say, and reading it."""

"""Settings of promotion.toml: their types, loading and checks."""

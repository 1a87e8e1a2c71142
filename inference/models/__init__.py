"""Loading a model from an approved folder."""

"""Batch inference: lines in, lines out."""

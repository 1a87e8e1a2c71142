"""Scoring of outputs against references: metrics for gates, and pictures for people."""

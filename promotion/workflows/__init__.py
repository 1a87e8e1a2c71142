"""Workflows: decisions, requests, operations, projections."""

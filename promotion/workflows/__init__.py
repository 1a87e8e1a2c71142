"""What happens: decisions, requests, operations, projections."""

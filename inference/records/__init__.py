"""Records, their parameters, and JSON Lines."""

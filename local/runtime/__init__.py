"""Lambda on one machine: each function runs in its own processes, by AWS's own runtime client."""

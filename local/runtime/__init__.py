"""Lambda on one machine: each function in processes of its own, through AWS's own runtime client."""

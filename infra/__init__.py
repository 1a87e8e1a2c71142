"""The deployed stacks, one module for each part; of the service's own code, only names and settings are imported."""

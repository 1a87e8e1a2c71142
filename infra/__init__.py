"""What is deployed: one room for each part of the stack, and nothing of the service's own code but its words."""

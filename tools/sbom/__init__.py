"""What the product is made of, for people who have to account for it."""

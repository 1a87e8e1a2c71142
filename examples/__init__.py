"""Models trained and registered on the spot: to copy from, and for the demonstration to stand on."""

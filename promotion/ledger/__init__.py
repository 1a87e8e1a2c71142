"""The chain of events: appending, folding, verifying, exporting."""

"""One module for each trigger."""

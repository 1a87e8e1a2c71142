"""Tasks, and the pipeline that answers records with them."""

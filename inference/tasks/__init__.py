"""Tasks, and the pipeline that answers records by them."""

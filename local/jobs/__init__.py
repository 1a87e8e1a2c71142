"""SageMaker's jobs on one machine: the project's own containers, as processes."""

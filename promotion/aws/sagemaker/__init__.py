"""SageMaker: the model registry, the images of its packages, endpoints, and jobs of inference runs."""

"""From outputs and references to metrics that a gate can judge, and pictures that a person can."""

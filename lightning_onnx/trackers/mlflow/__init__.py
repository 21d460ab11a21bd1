"""MLflow: artifacts of a run, and models in its registry."""

"""Keeps things: Optuna's database, its MLflow mirror, the model registry. Knows nothing of forests."""

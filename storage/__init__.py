"""Keeps things: Optuna's database, its MLflow mirror, the registry. Knows nothing of forests."""

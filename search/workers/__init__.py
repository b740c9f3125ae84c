"""Grows trees in this process, on local worker processes, or on a Dask cluster.

`base` defines the interface of all kinds of workers, and `factory` chooses the kind for a study.
Workers receive training rows and hyperparameters and return scores; they have no access to a
database. The package may import `study`, `forest` and `data`. Start at `base.Workers`.
"""

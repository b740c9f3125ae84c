"""Runs the growing of trees somewhere: in this process, on local processes, on a Dask cluster.

`base` is the contract that all kinds of workers keep, and `factory` chooses one of them for a
study. Workers receive training rows and hyperparameters and return sums of votes; they never
see a database. The package may import `study`, `forest` and `data`.
"""

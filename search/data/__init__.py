"""Reads a table from any address and divides it into training and held-out rows.

The package may import the top-level modules of `search` and nothing above it. `addresses` says
what `--data` may name, `table` chooses the reader, and `dataset` is the result. Start at
`dataset.load_dataset`.
"""

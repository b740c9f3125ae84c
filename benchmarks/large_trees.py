"""Measure two choices for large tables: merged values, and the smallest leaf.

    python benchmarks/large_trees.py merging
    python benchmarks/large_trees.py leaves

Prints the tables of docs/search.md: CPU seconds and nodes of a tree, and the test error of the
infinite forest, estimated from eight trees. Texts are encoded as ordinal codes.
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
from large_tables import TABLES, LargeTable
from numpy.typing import NDArray
from sklearn.preprocessing import OrdinalEncoder
from sklearn.tree import DecisionTreeRegressor

from search.data import merging

_TREES = 8
_MERGED = (0, 256, 512, 1024)
_LEAVES = (1, 2, 3, 6, 12)
# Table: its training rows and max_features.
_FOR_MERGING = {"friedman": (400_000, 0.5), "clusters": (200_000, 0.3)}
_FOR_LEAVES = {
    "friedman": (400_000, 0.5),
    "clusters": (400_000, 0.3),
    "Birthdays": (300_000, 0.8),
    "flights": (260_000, 0.6),
}


@dataclass(frozen=True)
class Encoded:
    """Training and test rows as numbers; classes are 0 and 1."""

    X: pd.DataFrame
    y: NDArray[np.float64]
    X_test: pd.DataFrame
    y_test: NDArray[np.float64]


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["merging", "leaves"])
    if parser.parse_args().what == "merging":
        print("| table | values left | seconds per tree | test error |\n| --- | --- | --- | --- |")
        for name, (n_rows, max_features) in _FOR_MERGING.items():
            rows = _encode(name, n_rows)
            for left in _MERGED:
                merging._LEFT = left
                X = merging.merge_values(rows.X) if left else rows.X
                seconds, _, error = _grow(X, rows, max_features, 3)
                print(f"| {name} | {left or 'all'} | {seconds:.2f} | {error:.4g} |", flush=True)
    else:
        print("| table | leaf | nodes per tree | test error |\n| --- | --- | --- | --- |")
        for name, (n_rows, max_features) in _FOR_LEAVES.items():
            rows = _encode(name, n_rows)
            X = merging.merge_values(rows.X)
            for leaf in _LEAVES:
                _, nodes, error = _grow(X, rows, max_features, leaf)
                print(f"| {name} | {leaf} | {nodes:,.0f} | {error:.4g} |", flush=True)


def _encode(name: str, n_rows: int) -> Encoded:
    table = next(table for table in TABLES if table.name == name)
    train, test = table.split(0)
    train = train.head(n_rows)
    y, y_test = (_target(table, rows.pop(table.target)) for rows in (train, test))
    texts = train.select_dtypes(exclude="number").columns
    if len(texts):
        encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
        train[texts] = encoder.fit_transform(train[texts])
        test[texts] = encoder.transform(test[texts])
    return Encoded(train.astype(np.float32), y, test.astype(np.float32), y_test)


def _target(table: LargeTable, column: pd.Series) -> NDArray[np.float64]:
    values = column.to_numpy()
    return np.asarray(values == max(values) if table.task == "classification" else values, float)


def _grow(
    X: pd.DataFrame, rows: Encoded, max_features: float, leaf: int
) -> tuple[float, float, float]:
    """Return CPU seconds and nodes per tree, and the infinite forest's root mean squared error."""
    random = np.random.RandomState(0)
    predictions, seconds, nodes = [], 0.0, 0
    for seed in range(_TREES):
        drawn = np.bincount(random.randint(0, len(X), len(X)), minlength=len(X))
        tree = DecisionTreeRegressor(
            max_features=max_features, min_samples_leaf=leaf, random_state=seed
        )
        began = time.process_time()
        tree.fit(X.to_numpy(), rows.y, sample_weight=drawn)
        seconds += time.process_time() - began
        nodes += tree.tree_.node_count
        predictions.append(tree.predict(rows.X_test.to_numpy()))
    mean = np.mean(predictions, axis=0)
    # The mean of T predictions exceeds the infinite forest's squared error by s2 / T.
    excess = np.var(predictions, axis=0, ddof=1) / _TREES
    error = float(np.sqrt(np.mean((rows.y_test - mean) ** 2 - excess)))
    return seconds / _TREES, nodes / _TREES, error


if __name__ == "__main__":
    main()

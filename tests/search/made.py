"""Datasets, rows and sums made for tests."""

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from search.data.dataset import Dataset, load_dataset
from search.data.description import DataDescription
from search.data.limits import Bounds
from search.forest.growing import grow
from search.forest.oob import OobSums
from search.forest.resampling import Resampling
from search.forest.training_set import TrainingSet
from search.types import Task

PARAMS: dict[str, Any] = {"max_features": 0.5, "min_samples_leaf": 3, "max_depth": None}


def make_dataset(
    source: str,
    target: str | None = None,
    task: Task | None = None,
    holdout: float = 0.0,
    *,
    table: pd.DataFrame | None = None,
    bounds: Bounds = Bounds(),
    **fields: Any,
) -> Dataset:
    """Load a dataset; `fields` are further ones of `DataDescription`."""
    description = DataDescription(
        source=source, target=target, task=task, holdout=holdout, **fields
    )
    return load_dataset(description, address=source, table=table, bounds=bounds)


def rows_of(
    X: NDArray[Any], y: NDArray[Any], n_classes: int = 0, weights: NDArray[Any] | None = None
) -> TrainingSet:
    X = np.ascontiguousarray(X, dtype=np.float32)
    return TrainingSet(
        X, y, n_classes, weights=None if weights is None else weights / weights.mean()
    )


def resampled(rows: TrainingSet, **division: Any) -> TrainingSet:
    """The same rows, divided otherwise."""
    return replace(rows, resampling=Resampling(**division))


def grown(
    rows: TrainingSet, params: Mapping[str, Any], trees: int, seed: int = 0, place: int = 0
) -> OobSums:
    """Grow trees and add up their chunks."""
    return reduce(add, grow(rows, params, seed, place, range(trees // rows.chunk)))


def sums_of(votes: list[list[float]]) -> OobSums:
    """Sums as if each list were the votes on one row."""
    return OobSums(
        np.array([len(v) for v in votes], dtype=float),
        np.array([sum(v) for v in votes], dtype=float),
        np.array([sum(x * x for x in v) for v in votes], dtype=float),
        trees=max(map(len, votes)),
        seconds=0.0,
    )


def assert_same(one: OobSums, other: OobSums) -> None:
    """Compare to the last bit; the time may differ."""
    assert one.trees == other.trees
    np.testing.assert_array_equal(one.votes, other.votes)
    np.testing.assert_array_equal(one.total, other.total)
    np.testing.assert_array_equal(one.squares, other.squares)

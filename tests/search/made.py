"""Makes datasets, training sets and sums for tests."""

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
from search.data.limits import Limits
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
    limits: Limits = Limits(),
    **fields: Any,
) -> Dataset:
    """Load a dataset; `fields` are further fields of `DataDescription`."""
    description = DataDescription(
        source=source, target=target, task=task, holdout=holdout, **fields
    )
    return load_dataset(description, address=source, table=table, limits=limits)


def make_training_set(
    X: NDArray[Any], y: NDArray[Any], n_classes: int = 0, weights: NDArray[Any] | None = None
) -> TrainingSet:
    X = np.ascontiguousarray(X, dtype=np.float32)
    return TrainingSet(
        X, y, n_classes, weights=None if weights is None else weights / weights.mean()
    )


def resampled(training_set: TrainingSet, **division: Any) -> TrainingSet:
    """Return the same rows with another resampling scheme."""
    return replace(training_set, resampling=Resampling(**division))


def grown(
    training_set: TrainingSet, params: Mapping[str, Any], trees: int, seed: int = 0, place: int = 0
) -> OobSums:
    """Grow trees and return the sum of their chunks."""
    return reduce(add, grow(training_set, params, seed, place, range(trees // training_set.chunk)))


def sums_of(votes: list[list[float]]) -> OobSums:
    """Return the sums of given votes, one list per row."""
    return OobSums(
        np.array([len(v) for v in votes], dtype=float),
        np.array([sum(v) for v in votes], dtype=float),
        np.array([sum(x * x for x in v) for v in votes], dtype=float),
        trees=max(map(len, votes)),
        seconds=0.0,
    )


def assert_same(one: OobSums, other: OobSums) -> None:
    """Assert that two sums are bit-for-bit equal, except for their time."""
    assert one.trees == other.trees
    np.testing.assert_array_equal(one.votes, other.votes)
    np.testing.assert_array_equal(one.total, other.total)
    np.testing.assert_array_equal(one.squares, other.squares)

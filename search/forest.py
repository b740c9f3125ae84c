"""Forests as sums over trees: chunks of trees -> `OobSums` -> score. No Optuna, no MLflow, no Dask.

A chunk of trees is fitted, its out-of-bag predictions are added up, and the trees are dropped.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from search.errors import StudyError
from search.metrics import METRICS, Metric, brier_errors

CHUNK = 16
_CHAMPION = 2**32 - 1
# How close the champion's squared error comes to the infinite forest's, and its bounds in trees.
_EXCESS = 0.005
FEWEST, MOST = 100, 1000

Array = NDArray[Any]


@dataclass(frozen=True)
class OobSums:
    """What remains of grown trees: sums over the trees for which a row was out of bag.

    Attributes
    ----------
    votes : array of shape (n_rows,)
        How many trees voted on the row.
    total : array of shape (n_rows,), or (n_rows, n_classes) for a classification
        Sum of their predictions.
    squares : array of shape (n_rows,)
        Sum of their predictions' squared norms.
    trees, seconds
        Trees grown, and seconds spent growing them.
    """

    votes: Array
    total: Array
    squares: Array
    trees: int
    seconds: float

    def __add__(self, other: "OobSums") -> "OobSums":
        """Sums of two chunks add; in the order of the chunks, to be the same to the last bit."""
        return OobSums(
            self.votes + other.votes,
            self.total + other.total,
            self.squares + other.squares,
            self.trees + other.trees,
            self.seconds + other.seconds,
        )

    def mean(self) -> Array:
        """Mean prediction of each row; not a number where nobody voted."""
        votes = self.votes if self.total.ndim == 1 else self.votes[:, None]
        with np.errstate(invalid="ignore"):
            return np.asarray(self.total / votes)

    def variance(self) -> Array:
        """Sample variance of each row's votes (of a vector: summed over its parts).

        Not a number for rows with fewer than two votes.
        """
        mean = self.mean()
        norm = mean**2 if mean.ndim == 1 else (mean**2).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(
                np.maximum(self.squares - self.votes * norm, 0.0) / (self.votes - 1.0)
            )


def seed_of(study_seed: int, *path: int) -> int:
    """Derive the seed of one random thing from the study's seed and the thing's place in it."""
    return int(np.random.SeedSequence([study_seed, *path]).generate_state(1)[0])


def champion_seed(study_seed: int) -> int:
    """Seed of the forest that is kept."""
    return seed_of(study_seed, _CHAMPION)


def make_forest(
    params: Mapping[str, Any], n_classes: int, trees: int, seed: int, jobs: int = 1
) -> RandomForestRegressor | RandomForestClassifier:
    """Return an unfitted scikit-learn forest; `n_classes` is 0 for a regression."""
    kind = RandomForestClassifier if n_classes else RandomForestRegressor
    return kind(n_estimators=trees, random_state=seed, n_jobs=jobs, bootstrap=True, **params)


def grow(
    X: Array,
    y: Array,
    n_classes: int,
    params: Mapping[str, Any],
    seed: int,
    trial: int,
    trees: range,
    before: OobSums | None = None,
) -> OobSums:
    """Grow the trees numbered `trees`, chunk by chunk, and add their votes to `before`.

    Parameters
    ----------
    X : float32 array of shape (n_rows, n_features)
    y : array of shape (n_rows,)
        float64, or the index of the class where `n_classes` is not 0.
    seed, trial
        With the chunk's number they are all that the chunk's randomness comes from.
    trees
        From one multiple of `CHUNK` to another.
    """
    sums = before
    for first in trees[::CHUNK]:
        chunk_seed = seed_of(seed, trial, first // CHUNK)
        grown = _grow_chunk(X, y, n_classes, params, chunk_seed)
        sums = grown if sums is None else sums + grown
    if sums is None:
        raise ValueError(f"no trees to grow in {trees}")
    return sums


def _grow_chunk(
    X: Array, y: Array, n_classes: int, params: Mapping[str, Any], seed: int
) -> OobSums:
    """Grow one chunk as scikit-learn's forests do: a bootstrap's counts as weights, a tree on each.

    Its own loop, because a forest clones and validates each tree anew, which on a few hundred rows
    costs as much as growing it (benchmarks/growth.py). One generator serves the whole chunk.
    """
    start = time.perf_counter()
    n_rows = len(y)
    votes, squares = np.zeros(n_rows), np.zeros(n_rows)
    total = np.zeros((n_rows, n_classes) if n_classes else n_rows)
    random = np.random.RandomState(seed)
    drawn, tree = _make_tree(params, n_rows, n_classes, random)
    with config_context(skip_parameter_validation=True):
        for _ in range(CHUNK):
            counts = np.bincount(random.randint(0, n_rows, drawn), minlength=n_rows)
            tree.fit(X, y, sample_weight=counts)
            rows = np.flatnonzero(counts == 0)
            predicted = tree.tree_.predict(X[rows])
            if not n_classes:
                predicted = predicted.reshape(len(rows))
            votes[rows] += 1
            total[rows] += predicted
            squares[rows] += predicted**2 if not n_classes else (predicted**2).sum(axis=1)
    return OobSums(votes, total, squares, CHUNK, time.perf_counter() - start)


def _make_tree(
    params: Mapping[str, Any], n_rows: int, n_classes: int, random: np.random.RandomState
) -> tuple[int, DecisionTreeClassifier | DecisionTreeRegressor]:
    """Return the rows in a bootstrap and an unfitted tree, as a forest of `params` has them."""
    own = dict(params)
    drawn = max(1, round(n_rows * own.pop("max_samples", 1.0)))
    kind = DecisionTreeClassifier if n_classes else DecisionTreeRegressor
    default = "sqrt" if n_classes else 1.0
    return drawn, kind(random_state=random, **({"max_features": default} | own))


def squared_errors(sums: OobSums, y: Array) -> Array:
    """Each row's squared error, as it would be in an infinite forest.

    With m votes of sample variance s2 on a row, E[(y - mean)^2] = (y - mu)^2 + sigma^2 / m, so
    (y - mean)^2 - s2 / m is unbiased for the infinite forest. Of class probabilities, the squares
    are summed over the classes.

    Returns
    -------
    array of shape (n_rows,), not a number for rows with fewer than two votes
    """
    mean = sums.mean()
    errors = (y - mean) ** 2 if mean.ndim == 1 else brier_errors(y, mean)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(errors - sums.variance() / sums.votes)


def score(sums: OobSums, y: Array, metric: Metric) -> float:
    """Score out-of-bag predictions; rows with fewer than two votes are not counted.

    Raises
    ------
    StudyError
        When the score is not a number: no row has enough votes, or a class has none.
    """
    seen = sums.votes >= 2  # noqa: PLR2004
    value = float("nan")
    if seen.any():
        if metric.of_squares is not None:
            value = metric.of_squares(squared_errors(sums, y)[seen], y[seen])
        else:
            value = metric.of_predictions(y[seen], sums.mean()[seen])
    if not np.isfinite(value):
        counted = f"{int(seen.sum())} of {len(y)} rows have two out-of-bag votes"
        raise StudyError(f"{metric.name} of {sums.trees} trees is {value}: {counted}")
    return value


def enough_trees(sums: OobSums, y: Array) -> int:
    """Size of the smallest forest within 0.5% of the infinite one's squared error.

    A forest of T trees has the infinite forest's squared error plus V / T, with V the mean variance
    between trees; the answer is between 100 and 1,000.
    """
    seen = sums.votes >= 2  # noqa: PLR2004
    infinite = float(squared_errors(sums, y)[seen].mean())
    between = float(sums.variance()[seen].mean())
    if infinite <= 0:
        return MOST
    return int(np.clip(np.ceil(between / (_EXCESS * infinite)), FEWEST, MOST))


@dataclass(frozen=True)
class Outcome:
    """What the coordinator learns of grown trees: their score, and the champion's size from it."""

    score: float
    trees: int
    seconds: float
    enough: int


def outcome(sums: OobSums, y: Array, metric: str) -> Outcome:
    """Judge sums where they are, so that only a few numbers travel."""
    return Outcome(score(sums, y, METRICS[metric]), sums.trees, sums.seconds, enough_trees(sums, y))

"""Draws the rows that each tree is trained on, and names the rows that it then votes on.

Two schemes exist:

- Out-of-bag: a tree is trained on a bootstrap sample and votes on all rows outside of it.
- Folds: if rows depend on each other (rows of one group, or neighbours in time), out-of-bag scores
  are too optimistic, because dependent rows are on both sides. The rows are then divided into folds
  that keep dependent rows together. Chunk k belongs to fold k modulo the number of folds: its trees
  are trained on bootstrap samples of the fold's training rows and vote on the fold's test rows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
# Trees that share a seed. Large tables have smaller chunks, so that a chunk is not longer than a
# task should be.
CHUNK = 16
# Numbers of trees at which trials are compared, in multiples of `CHUNK`: out-of-bag, and per fold.
_OOB_RUNGS = (16, 64, 128)
_FOLD_RUNGS = (16, 64)
# Blocks of rows in the jackknife.
_MAX_BLOCKS = 20
# Share of the rows, and of each class, that must have two votes at the first rung.
_MIN_COVERAGE = 0.9


@dataclass(frozen=True)
class Resampling:
    """How the rows of a training set are divided between training and voting.

    Attributes
    ----------
    units : array of shape (n_rows,), or None
        Unit of each row, an integer from 0. Rows of one unit belong together: they are equal, or
        have the same group or time. The out-of-bag scheme draws whole units.
    folds : tuple of (training rows, test rows)
        Row numbers of each fold; empty for the out-of-bag scheme.
    """

    units: Array | None = None
    folds: tuple[tuple[Array, Array], ...] = ()

    @property
    def rungs(self) -> tuple[int, ...]:
        """Numbers of trees, over all folds, at which trials are compared."""
        if not self.folds:
            return _OOB_RUNGS
        return tuple(trees * len(self.folds) for trees in _FOLD_RUNGS)

    def subset(self, rows: Array) -> "Resampling":
        """Return the same division of some of the rows.

        Parameters
        ----------
        rows : array of row numbers, increasing
        """
        units = None if self.units is None else np.unique(self.units[rows], return_inverse=True)[1]
        folds = tuple((_places(train, rows), _places(test, rows)) for train, test in self.folds)
        return Resampling(units, folds)

    def test_mask(self, n_rows: int) -> Array:
        """Return the mask of the rows that some tree can vote on; shape (n_rows,)."""
        if not self.folds:
            return np.ones(n_rows, dtype=bool)
        chosen = np.zeros(n_rows, dtype=bool)
        for _, test in self.folds:
            chosen[test] = True
        return chosen

    def blocks(self, n_rows: int) -> Array:
        """Divide the rows into at most 20 blocks of about equal size; units stay together.

        Returns
        -------
        array of shape (n_rows,)
            Block number of each row, from 0.
        """
        units = np.arange(n_rows) if self.units is None else self.units
        n_units = int(units.max()) + 1
        # A fixed permutation: neighbouring rows are often alike, and blocks must not differ
        # between trials.
        block = np.random.RandomState(0).permutation(n_units) % min(_MAX_BLOCKS, n_units)
        return np.asarray(block[units])

    def draw(
        self,
        chunk: int,
        n_rows: int,
        max_samples: float,
        weights: Array | None,
        random: np.random.RandomState,
    ) -> tuple[Array, Array]:
        """Draw one tree's rows, with replacement, as scikit-learn's forests do.

        Parameters
        ----------
        chunk
            Number of the tree's chunk within its trial; it determines the fold.
        max_samples
            Rows (or units) to draw, as a fraction of those available.
        weights : array of shape (n_rows,), or None
            Row weights with mean 1. A row is drawn with probability proportional to its weight.

        Returns
        -------
        counts : array of shape (n_rows,)
            How often each row was drawn. If whole units are drawn and rows have weights, a unit's
            count is distributed over its rows by their weights.
        votes : array of shape (n_votes,)
            Numbers of the rows that the tree votes on.
        """
        if not self.folds:
            counts = _bootstrap(n_rows, max_samples, weights, self.units, random)
            votes = np.flatnonzero(counts == 0)
            if self.units is not None and weights is not None:
                # The unit was drawn by its mean weight; each row gets its own share of the count.
                mean = (np.bincount(self.units, weights) / np.bincount(self.units))[self.units]
                counts = counts * np.divide(weights, mean, out=np.zeros(n_rows), where=mean > 0)
            return counts, votes
        train, test = self.folds[chunk % len(self.folds)]
        counts = np.zeros(n_rows, dtype=np.intp)
        train_weights = None if weights is None else weights[train]
        counts[train] = _bootstrap(len(train), max_samples, train_weights, None, random)
        return counts, test


def _places(chosen: Array, rows: Array) -> Array:
    """Return the places in `rows` of those rows that are chosen."""
    return np.flatnonzero(np.isin(rows, chosen))


def has_enough_oob_votes(y: Array, n_classes: int, weights: Array) -> bool:
    """Whether out-of-bag scores are usable with these row weights.

    A row of weight w (in units of the mean weight) is outside of a tree's bootstrap sample with
    probability q of about exp(-w), so heavy rows get hardly any votes. With n trees a row has two
    or more votes with probability 1 - (1 - q)**n - n q (1 - q)**(n - 1). This function requires
    that the weighted mean of this probability at the first rung is at least 0.9, over all rows and
    over the rows of each class.

    Parameters
    ----------
    y : array of shape (n_rows,)
        Targets, or class indices if `n_classes` is not 0.
    weights : array of shape (n_rows,)
        Row weights, on any scale.
    """
    trees, out = _OOB_RUNGS[0], np.exp(-weights / weights.mean())
    twice = 1 - (1 - out) ** trees - trees * out * (1 - out) ** (trees - 1)
    parts = [np.ones(len(y), dtype=bool), *(y == k for k in range(n_classes))]
    coverages = [np.average(twice[p], weights=weights[p]) for p in parts if weights[p].any()]
    return bool(min(coverages) >= _MIN_COVERAGE)


def _bootstrap(
    n_rows: int,
    max_samples: float,
    weights: Array | None,
    units: Array | None,
    random: np.random.RandomState,
) -> Array:
    """Return how often each row is drawn, shape (n_rows,); rows of a unit have equal counts."""
    if units is not None:
        n_units = int(units.max()) + 1
        if weights is not None:
            weights = np.bincount(units, weights) / np.bincount(units)
        return _bootstrap(n_units, max_samples, weights, None, random)[units]
    n_drawn = max(1, int(n_rows * max_samples))
    if weights is None:
        rows = random.randint(0, n_rows, n_drawn)
    else:
        rows = random.choice(n_rows, n_drawn, p=weights / weights.sum())
    return np.bincount(rows, minlength=n_rows)

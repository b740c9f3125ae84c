"""Which rows a tree grows on and which it then votes on: out-of-bag, or folds.

Out-of-bag, a tree grows on a bootstrap and votes on the rows that it left out. Where rows depend on
each other that would fool: rows of one group, or of neighbouring times, stand on both sides. Then
the chunks of trees go round the folds of a division that keeps such rows apart; within its fold's
training rows a tree grows on a bootstrap, and it votes on the fold's test rows only.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
# Trees of one seed; of large tables fewer, so that a chunk is not longer than a task should be.
CHUNK = 16
# Trees at which trials are compared; the second is for each fold. Multiples of `CHUNK`.
_OOB_RUNGS = (16, 64, 128)
_FOLD_RUNGS = (16, 64)
# Blocks of rows, for the error of a comparison.
_BLOCKS = 20
# Of the rows, and of each class's, so many must be voted on twice at the first rung.
_LEAST_COVERAGE = 0.9


@dataclass(frozen=True)
class Resampling:
    """How the training rows are divided between growing and voting.

    Attributes
    ----------
    units : array of shape (n_rows,), or None
        Rows of one unit (a whole number from 0) belong together: they repeat each other, are of one
        group or of one time. Out-of-bag they are drawn together.
    folds : tuple of (training rows, test rows)
        Row numbers; empty for out-of-bag.
    """

    units: Array | None = None
    folds: tuple[tuple[Array, Array], ...] = ()

    @property
    def rungs(self) -> tuple[int, ...]:
        """Trees grown, over all folds, when trials are compared."""
        if not self.folds:
            return _OOB_RUNGS
        return tuple(trees * len(self.folds) for trees in _FOLD_RUNGS)

    def test_mask(self, n_rows: int) -> Array:
        """Return which rows are voted on at all, as booleans of shape (n_rows,)."""
        if not self.folds:
            return np.ones(n_rows, dtype=bool)
        chosen = np.zeros(n_rows, dtype=bool)
        for _, test in self.folds:
            chosen[test] = True
        return chosen

    def blocks(self, n_rows: int) -> Array:
        """Divide the rows into twenty blocks, at most, of about equal size; units stay together.

        Returns
        -------
        array of shape (n_rows,), the number of each row's block, from 0
        """
        units = np.arange(n_rows) if self.units is None else self.units
        n_units = int(units.max()) + 1
        # Not by their order, in which neighbours are often alike; always the same.
        block = np.random.RandomState(0).permutation(n_units) % min(_BLOCKS, n_units)
        return np.asarray(block[units])

    def draw(
        self,
        chunk: int,
        n_rows: int,
        share: float,
        weights: Array | None,
        random: np.random.RandomState,
    ) -> tuple[Array, Array]:
        """Draw one tree's rows.

        As scikit-learn's forests do: `share` of the rows (of their weight) with replacement, each
        drawn in proportion to its weight.

        Parameters
        ----------
        chunk
            Number of the tree's chunk in its trial, from which its fold follows.
        weights : array of shape (n_rows,), or None
            Mean 1.

        Returns
        -------
        counts : array of shape (n_rows,)
            How often each row was drawn; within a unit, by the rows' weights.
        votes : array
            Numbers of the rows that the tree votes on.
        """
        if not self.folds:
            counts = _bootstrap(n_rows, share, weights, self.units, random)
            votes = np.flatnonzero(counts == 0)
            if self.units is not None and weights is not None:
                # A unit is drawn by what its rows weigh together; in it each has its own part.
                mean = (np.bincount(self.units, weights) / np.bincount(self.units))[self.units]
                counts = counts * np.divide(weights, mean, out=np.zeros(n_rows), where=mean > 0)
            return counts, votes
        train, test = self.folds[chunk % len(self.folds)]
        counts = np.zeros(n_rows, dtype=np.intp)
        own = None if weights is None else weights[train]
        counts[train] = _bootstrap(len(train), share, own, None, random)
        return counts, test


def _bootstrap(
    n_rows: int,
    share: float,
    weights: Array | None,
    units: Array | None,
    random: np.random.RandomState,
) -> Array:
    if units is not None:
        n_units = int(units.max()) + 1
        if weights is not None:
            weights = np.bincount(units, weights) / np.bincount(units)
        return _bootstrap(n_units, share, weights, None, random)[units]
    drawn = max(1, int(n_rows * share))
    if weights is None:
        rows = random.randint(0, n_rows, drawn)
    else:
        rows = random.choice(n_rows, drawn, p=weights / weights.sum())
    return np.bincount(rows, minlength=n_rows)


def has_enough_oob_votes(y: Array, n_classes: int, weights: Array) -> bool:
    """Whether out-of-bag votes will do where rows have weights.

    A row of weight w (of a mean of 1) is out of a tree's bag with a chance of about exp(-w): heavy
    rows stand in nearly every bag. Asked for is that nine tenths of the weight of all rows, and of
    each class's, can be expected to have two votes at the first rung.
    """
    trees, out = _OOB_RUNGS[0], np.exp(-weights / weights.mean())
    twice = 1 - (1 - out) ** trees - trees * out * (1 - out) ** (trees - 1)
    parts = [np.ones(len(y), dtype=bool), *(y == k for k in range(n_classes))]
    shares = [np.average(twice[p], weights=weights[p]) for p in parts if weights[p].any()]
    return bool(min(shares) >= _LEAST_COVERAGE)

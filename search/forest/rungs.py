"""Rungs: the numbers of rows and trees at which the trials of a study are compared.

A few trees on a sample of the rows rank hyperparameters almost as well as many trees on all rows,
at a small share of the cost (docs/search.md). On large tables, trials therefore start on a sample,
and only the best continue on more rows.
"""

import math
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from search.forest.resampling import Resampling

# Tables with at least this many times the rows of the first sample are sampled.
_MIN_RATIO = 3
_FIRST_ROWS, _SECOND_ROWS = 10_000, 40_000
# Number of trials that continue from each of two samples, or from the only one.
_KEEP_FIRST, _KEEP_LAST = 8, 3
# Rows of the rarest class that a sample should contain.
_RARE_ROWS = 50
# Whole units are sampled if the sample has at least this many.
_MIN_UNITS = 200
# Trees on a sample, and on all rows after a sample; with folds, in each fold.
_SAMPLE_TREES, _FINAL_TREES = 16, (16, 32)


class Rung(NamedTuple):
    """A number of rows and trees at which trials are compared.

    Attributes
    ----------
    step
        Trees that a trial has grown at this rung, on all samples together. It identifies the rung.
    rows
        Rows of the sample; all rows of the training set at the last rungs.
    trees
        Trees that the trial has grown on these rows.
    keep
        Number of trials that continue from this rung, chosen once all trials have reached it.
        ``None`` if a trial continues at once unless it is behind.
    """

    step: int
    rows: int
    trees: int
    keep: int | None = None


def make_rungs(y: NDArray[np.generic], n_classes: int, resampling: Resampling) -> tuple[Rung, ...]:
    """Return the rungs for a training set.

    Parameters
    ----------
    y : array of shape (n_rows,)
        Targets, or class indices if `n_classes` is not 0.
    """
    n_rows, n_folds = len(y), max(1, len(resampling.folds))
    first = _FIRST_ROWS
    if n_classes:
        rarest = np.bincount(y.astype(np.intp), minlength=n_classes).min()
        first = max(first, math.ceil(_RARE_ROWS * n_rows / max(1, rarest)))
    if n_rows < _MIN_RATIO * first:
        return tuple(Rung(trees, n_rows, trees) for trees in resampling.rungs)
    trees = _SAMPLE_TREES * n_folds
    rungs = [Rung(trees, first, trees, _KEEP_LAST)]
    second = max(_SECOND_ROWS, 2 * first)
    if n_rows >= _MIN_RATIO * second:
        rungs = [rungs[0]._replace(keep=_KEEP_FIRST), Rung(2 * trees, second, trees, _KEEP_LAST)]
    start = rungs[-1].step
    finals = (per_fold * n_folds for per_fold in _FINAL_TREES)
    return (*rungs, *(Rung(start + final, n_rows, final) for final in finals))


def next_rungs(rungs: tuple[Rung, ...], step: int) -> tuple[Rung, ...]:
    """Return the rungs after `step` that a trial reaches before it waits or changes its rows."""
    remaining = [rung for rung in rungs if rung.step > step]
    _, same_rows = next(groupby(remaining, lambda rung: rung.rows))
    return tuple(_until_kept(same_rows))


def _until_kept(rungs: Iterator[Rung]) -> Iterator[Rung]:
    for rung in rungs:
        yield rung
        if rung.keep is not None:
            return


def sample_rows(
    y: NDArray[np.generic], n_classes: int, resampling: Resampling, n_sampled: int
) -> NDArray[np.intp]:
    """Return the row numbers of a sample, in increasing order; a larger sample contains it.

    Rows of one unit are sampled together if the sample then has many units. The classes have the
    same shares in the sample as in all rows, as far as whole units allow.
    """
    n_rows = len(y)
    units = np.arange(n_rows) if resampling.units is None else resampling.units
    n_units = int(units.max()) + 1
    if n_units * n_sampled < _MIN_UNITS * n_rows:
        units, n_units = np.arange(n_rows), n_rows
    order = np.argsort(np.random.RandomState(0).permutation(n_units)[units], kind="stable")
    if not n_classes or n_units < n_rows:
        return np.sort(order[:n_sampled])
    by_class = (order[y[order] == k] for k in range(n_classes))
    share = n_sampled / n_rows
    return np.sort(np.concatenate([rows[: math.ceil(share * len(rows))] for rows in by_class]))

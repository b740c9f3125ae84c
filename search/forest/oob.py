"""What remains of grown trees: sums over the trees that did not see a row -> score.

Sums of two chunks of trees simply add, and the infinite forest's error is estimated from them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.errors import StudyError
from search.forest.metrics import METRICS, Metric
from search.forest.pruning import Blocks, is_behind
from search.forest.scorers import brier_errors, brier_scale
from search.forest.training_set import TrainingSet
from storage.records import Span

# How close to the infinite forest's squared error is close enough.
_EXCESS = 0.005
# Said of a forest whose infinite error is next to nothing.
UNBOUNDED = 10**6
_ENOUGH_VOTES = 2
# Two spans of a worker are one where no more seconds lie between them.
_BREATH = 0.1

Array = NDArray[Any]


@dataclass(frozen=True)
class OobSums:
    """Sums over the trees that a row was kept from: out of their bag, or outside of their fold.

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
    spans
        Where and when they were grown.
    """

    votes: Array
    total: Array
    squares: Array
    trees: int
    seconds: float
    spans: tuple[Span, ...] = ()

    def __add__(self, other: "OobSums") -> "OobSums":
        """Sums of two chunks add; in the order of the chunks, to be the same to the last bit."""
        return OobSums(
            self.votes + other.votes,
            self.total + other.total,
            self.squares + other.squares,
            self.trees + other.trees,
            self.seconds + other.seconds,
            _joined(self.spans, other.spans),
        )

    @property
    def scorable(self) -> Array:
        """Which rows have votes enough to be counted, two or more; shape (n_rows,)."""
        return np.asarray(self.votes >= _ENOUGH_VOTES)

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


def _joined(first: tuple[Span, ...], second: tuple[Span, ...]) -> tuple[Span, ...]:
    """Put spans one after another; the two where they meet are one where a worker went right on."""
    if first and second:
        (*before, last), (next_, *after) = first, second
        if last.worker == next_.worker and 0 <= next_.began - last.ended < _BREATH:
            return (*before, Span(last.worker, last.began, next_.ended), *after)
    return first + second


def squared_errors(sums: OobSums, y: Array) -> Array:
    """Each row's squared error, as it would be in an infinite forest.

    With m votes of sample variance s2 on a row, E[(y - mean)^2] = (y - mu)^2 + sigma^2 / m, so
    (y - mean)^2 - s2 / m is unbiased for the infinite forest. Of class probabilities, the squares
    are summed over the classes, and scaled as the Brier score is.

    Returns
    -------
    array of shape (n_rows,), not a number for rows with fewer than two votes
    """
    mean = sums.mean()
    if mean.ndim == 1:
        errors, scale = (y - mean) ** 2, 1.0
    else:
        errors, scale = brier_errors(y, mean), brier_scale(mean.shape[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(errors - scale * sums.variance() / sums.votes)


def score(sums: OobSums, rows: TrainingSet, metric: Metric) -> float:
    """Score the sums' predictions; rows with fewer than two votes are not counted.

    Raises
    ------
    StudyError
        When the score is not a number: no row has enough votes, or a class has none.
    """
    value = _Scorer(sums, rows, metric)(sums.scorable)
    if not np.isfinite(value):
        text = f"{int(sums.scorable.sum())} of {len(rows.y)} rows have two votes"
        raise StudyError(f"{metric.name} of {sums.trees} trees is {value}: {text}")
    return value


def jackknife(sums: OobSums, rows: TrainingSet, metric: Metric) -> tuple[float, ...]:
    """Return what each block of rows says of the score, to be compared with another forest's.

    The pseudo-values of the delete-a-group jackknife (Quenouille 1956; Shao and Tu 1995, section
    2.3): B times the score, less B - 1 times the score without the block. Of a score that is a mean
    over rows they are the blocks' means; any other score has them, too.

    Returns
    -------
    one number a block of `TrainingSet.blocks`; not a number where the rest has no score
    """
    scorer, seen, blocks = _Scorer(sums, rows, metric), sums.scorable, rows.blocks
    n_blocks = int(blocks.max()) + 1
    whole = scorer(seen)
    return tuple(
        n_blocks * whole - (n_blocks - 1) * scorer(seen & (blocks != k)) for k in range(n_blocks)
    )


class _Scorer:
    """Scores some of the rows; what all of them share is computed once."""

    def __init__(self, sums: OobSums, rows: TrainingSet, metric: Metric) -> None:
        self._y, self._weights, self._n_classes = rows.y, rows.weights, rows.n_classes
        squares = metric.from_squared_errors
        self._values = sums.mean() if squares is None else squared_errors(sums, rows.y)
        self._of_predictions, self._of_squares = metric.from_predictions, squares

    def __call__(self, chosen: Array) -> float:
        if not chosen.any():
            return float("nan")
        y, values = self._y[chosen], self._values[chosen]
        weights = None if self._weights is None else self._weights[chosen]
        if self._of_squares is not None:
            return self._of_squares(values, y, weights, self._n_classes)
        return self._of_predictions(y, values, weights)


def infinite_forest_error(
    sums: OobSums, y: Array, weights: Array | None = None
) -> tuple[float, float]:
    """Return the infinite forest's squared error, and V: what a forest of T trees adds is V / T.

    V is the mean variance between trees. Of class probabilities both are of the Brier score.
    """
    seen = sums.scorable
    counted = None if weights is None else weights[seen]
    infinite = float(np.average(squared_errors(sums, y)[seen], weights=counted))
    scale = 1.0 if sums.total.ndim == 1 else brier_scale(sums.total.shape[1])
    return infinite, scale * float(np.average(sums.variance()[seen], weights=counted))


def enough_trees(sums: OobSums, y: Array, weights: Array | None = None) -> int:
    """Size of the smallest forest whose squared error is within 0.5% of the infinite one's."""
    infinite, between = infinite_forest_error(sums, y, weights)
    if between <= 0:
        return 1
    if infinite <= 0:
        return UNBOUNDED
    return int(np.clip(np.ceil(between / (_EXCESS * infinite)), 1, UNBOUNDED))


def coverage(sums: OobSums, rows: TrainingSet) -> float:
    """Share of the rows, by weight, that have votes enough, and of each class's: the least.

    Rows that are in no fold's test rows do not count.
    """
    could, y = rows.test_mask, rows.y
    parts = [could] + [could & (y == k) for k in range(rows.n_classes)]
    weights = np.ones(len(y)) if rows.weights is None else rows.weights
    shares = [np.average(sums.scorable[p], weights=weights[p]) for p in parts if weights[p].any()]
    return float(min(shares, default=0.0))


@dataclass(frozen=True)
class RungResult:
    """What the coordinator learns of grown trees.

    Attributes
    ----------
    score
        In the study's metric.
    guide_score
        The score by which trials are compared at a rung: the same, unless the metric has a guide.
    pseudo_values
        The guide's `jackknife`.
    behind
        Whether they are worse than the rival's, beyond chance.
    enough_trees
        As `enough_trees` has it.
    coverage
        As `coverage` has it.
    spans
        Where and when all of the trees were grown.
    """

    score: float
    guide_score: float
    pseudo_values: tuple[float, ...]
    behind: bool
    trees: int
    seconds: float
    enough_trees: int
    coverage: float
    spans: tuple[Span, ...] = ()


def evaluate_rung(
    sums: OobSums, rows: TrainingSet, metric: str, incumbent: Mapping[int, Blocks]
) -> RungResult:
    """Judge sums where they are, so that only a few numbers travel.

    Parameters
    ----------
    incumbent
        The blocks of the trial to compare with, by number of trees.
    """
    chosen = METRICS[metric]
    guide = METRICS[chosen.guide] if chosen.guide else chosen
    value = score(sums, rows, chosen)
    blocks, rival = jackknife(sums, rows, guide), incumbent.get(sums.trees)
    return RungResult(
        score=value,
        guide_score=value if guide is chosen else score(sums, rows, guide),
        pseudo_values=blocks,
        behind=rival is not None and is_behind(blocks, rival, guide.direction),
        trees=sums.trees,
        seconds=sums.seconds,
        enough_trees=enough_trees(sums, rows.y, rows.weights),
        coverage=coverage(sums, rows),
        spans=sums.spans,
    )

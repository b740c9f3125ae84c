"""Adds up out-of-bag votes and scores them, as the infinite forest would score where possible.

A trial keeps sums over its trees, not the trees. The sums of two chunks add up to the sums of their
trees. For squared-error metrics, the error of the infinite forest is estimated from the sums
without bias; docs/explanation/infinite-forest.md derives the estimate and cites its sources.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.errors import StudyError
from search.forest.metrics import METRICS, Metric
from search.forest.pruning import PseudoValues, is_behind
from search.forest.scorers import brier_errors, brier_scale
from search.forest.training_set import TrainingSet
from storage.records import Span

# `enough_trees` accepts a squared error that exceeds the infinite forest's by this fraction.
_RELATIVE_EXCESS = 0.005
# Returned by `enough_trees` if the infinite forest's error is almost zero.
UNBOUNDED = 10**6
# The variance of votes needs two of them.
_MIN_VOTES = 2
# Two spans of a worker are merged if fewer seconds than this lie between them.
_MAX_GAP = 0.1

Array = NDArray[Any]


@dataclass(frozen=True)
class OobSums:
    """Sums over the trees that did not train on a row: it was out of their bag or their fold.

    Attributes
    ----------
    votes : array of shape (n_rows,)
        Number of trees that voted on each row, m.
    total : array of shape (n_rows,), or (n_rows, n_classes) for classification
        Sum of their predictions.
    squares : array of shape (n_rows,)
        Sum of the squared norms of their predictions.
    trees
        Number of trees grown.
    seconds
        Time spent growing them, added up over the workers.
    spans
        Where and when they were grown.
    nodes
        Number of their nodes.
    """

    votes: Array
    total: Array
    squares: Array
    trees: int
    seconds: float
    spans: tuple[Span, ...] = ()
    nodes: int = 0

    def __add__(self, other: "OobSums") -> "OobSums":
        """Add the sums of two chunks. Add chunks in their order to get the same bits every time."""
        return OobSums(
            self.votes + other.votes,
            self.total + other.total,
            self.squares + other.squares,
            self.trees + other.trees,
            self.seconds + other.seconds,
            _merge_spans(self.spans, other.spans),
            self.nodes + other.nodes,
        )

    @property
    def scorable(self) -> Array:
        """Mask of the rows with two votes or more, which are scored; shape (n_rows,)."""
        return np.asarray(self.votes >= _MIN_VOTES)

    def mean(self) -> Array:
        """Mean prediction of each row, in the shape of `total`; NaN for rows without votes."""
        votes = self.votes if self.total.ndim == 1 else self.votes[:, None]
        with np.errstate(invalid="ignore"):
            return np.asarray(self.total / votes)

    def variance(self) -> Array:
        """Sample variance of each row's votes, shape (n_rows,).

        The variance is s2 = (sum |v|^2 - m |mean v|^2) / (m - 1); for vectors of class
        probabilities it is summed over the classes. NaN for rows with fewer than two votes.
        """
        mean = self.mean()
        norm = mean**2 if mean.ndim == 1 else (mean**2).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(
                np.maximum(self.squares - self.votes * norm, 0.0) / (self.votes - 1.0)
            )


def _merge_spans(first: tuple[Span, ...], second: tuple[Span, ...]) -> tuple[Span, ...]:
    """Concatenate spans; merge the two that meet if a worker continued without a pause."""
    if first and second:
        (*before, last), (next_, *after) = first, second
        if last.worker == next_.worker and 0 <= next_.began - last.ended < _MAX_GAP:
            return (*before, Span(last.worker, last.began, next_.ended), *after)
    return first + second


@dataclass(frozen=True)
class RungResult:
    """Scores of a trial at a rung. Workers return it to the coordinator instead of the sums.

    Attributes
    ----------
    score
        Score in the study's metric.
    guide_score
        Score in the metric's guide, by which trials are compared at rungs; equal to `score` if the
        metric has no guide.
    pseudo_values
        `jackknife` of the guide.
    behind
        Whether the trial is worse than the incumbent by more than chance explains.
    step
        Trees grown so far, on all samples of the rows.
    rows
        Number of rows of the sample.
    trees, seconds
        Trees grown on these rows, and time spent growing them, added up over the workers.
    nodes
        Number of their nodes.
    enough_trees
        Result of the function `enough_trees`.
    coverage
        Result of the function `coverage`.
    spans
        Where and when the trees were grown.
    """

    score: float
    guide_score: float
    pseudo_values: tuple[float, ...]
    behind: bool
    step: int
    rows: int
    trees: int
    seconds: float
    enough_trees: int
    coverage: float
    spans: tuple[Span, ...] = ()
    nodes: int = 0


def evaluate_rung(
    sums: OobSums,
    training_set: TrainingSet,
    metric: str,
    incumbent: Mapping[int, PseudoValues],
    before: int = 0,
) -> RungResult:
    """Score the sums of a trial at a rung and compare it with the incumbent.

    This runs on the worker that has the sums, so that only a few numbers are sent back.

    Parameters
    ----------
    metric
        Name of the study's metric.
    incumbent
        Pseudo-values of the incumbent by step.
    before
        Trees that the trial has grown on smaller samples of the rows.
    """
    chosen = METRICS[metric].with_positive(training_set.positive)
    guide = METRICS[chosen.guide] if chosen.guide else chosen
    value = score(sums, training_set, chosen)
    pseudo_values = jackknife(sums, training_set, guide)
    step = before + sums.trees
    reference = incumbent.get(step)
    return RungResult(
        score=value,
        guide_score=value if guide is chosen else score(sums, training_set, guide),
        pseudo_values=pseudo_values,
        behind=reference is not None and is_behind(pseudo_values, reference, guide.direction),
        step=step,
        rows=len(training_set.y),
        trees=sums.trees,
        seconds=sums.seconds,
        enough_trees=enough_trees(sums, training_set.y, training_set.weights),
        coverage=coverage(sums, training_set),
        spans=sums.spans,
        nodes=sums.nodes,
    )


def squared_errors(sums: OobSums, y: Array) -> Array:
    """Estimate each row's squared error in the infinite forest.

    Let m votes on a row have mean v, sample variance s2 and expectation mu. As E[(y - v)^2] =
    (y - mu)^2 + Var(vote) / m, the estimate (y - v)^2 - s2 / m is unbiased for the error
    (y - mu)^2 of the infinite forest. For class probabilities, squares are summed over the classes
    and scaled as the Brier score is (`scorers.brier_scale`). See
    docs/explanation/infinite-forest.md.

    Parameters
    ----------
    y : array of shape (n_rows,)
        Targets or class indices.

    Returns
    -------
    array of shape (n_rows,)
        NaN for rows with fewer than two votes; a single estimate can be negative.
    """
    mean = sums.mean()
    if mean.ndim == 1:
        errors, scale = (y - mean) ** 2, 1.0
    else:
        errors, scale = brier_errors(y, mean), brier_scale(mean.shape[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(errors - scale * sums.variance() / sums.votes)


def score(sums: OobSums, training_set: TrainingSet, metric: Metric) -> float:
    """Score the mean votes of the rows that have two votes or more.

    Metrics of squared errors are scored as the infinite forest would be; see `squared_errors`.

    Raises
    ------
    StudyError
        If the score is not a finite number: no row has two votes, or a class has none.
    """
    value = _Scorer(sums, training_set, metric)(sums.scorable)
    if not np.isfinite(value):
        n_scorable, n_rows = int(sums.scorable.sum()), len(training_set.y)
        raise StudyError(
            f"{metric.name} of {sums.trees} trees is {value}: "
            f"{n_scorable} of {n_rows} rows have two votes"
        )
    return value


def jackknife(sums: OobSums, training_set: TrainingSet, metric: Metric) -> tuple[float, ...]:
    """Return the pseudo-values of the delete-a-group jackknife of a score.

    With B blocks of rows, block k has the pseudo-value B * score - (B - 1) * (score without block
    k) (Quenouille 1956; Shao and Tu, The Jackknife and Bootstrap, 1995, section 2.3). For a score
    that is a mean over rows in blocks of equal size these are the blocks' means; other scores have
    pseudo-values as well. Differences of pseudo-values give the standard error of a paired
    comparison; see `pruning.is_behind`.

    Returns
    -------
    tuple of B floats
        One for each block of `TrainingSet.blocks`; NaN if the other blocks have no score.
    """
    scorer, scorable = _Scorer(sums, training_set, metric), sums.scorable
    blocks = training_set.blocks
    n_blocks = int(blocks.max()) + 1
    whole = scorer(scorable)
    return tuple(
        n_blocks * whole - (n_blocks - 1) * scorer(scorable & (blocks != k))
        for k in range(n_blocks)
    )


class _Scorer:
    """Scores subsets of the rows; computes what the subsets share once."""

    def __init__(self, sums: OobSums, training_set: TrainingSet, metric: Metric) -> None:
        self._y, self._weights = training_set.y, training_set.weights
        self._n_classes = training_set.n_classes
        self._from_predictions = metric.from_predictions
        self._from_squared_errors = metric.from_squared_errors
        self._values = (
            sums.mean()
            if metric.from_squared_errors is None
            else squared_errors(sums, training_set.y)
        )

    def __call__(self, chosen: Array) -> float:
        if not chosen.any():
            return float("nan")
        y, values = self._y[chosen], self._values[chosen]
        weights = None if self._weights is None else self._weights[chosen]
        if self._from_squared_errors is not None:
            return self._from_squared_errors(values, y, weights, self._n_classes)
        return self._from_predictions(y, values, weights)


def infinite_forest_error(
    sums: OobSums, y: Array, weights: Array | None = None
) -> tuple[float, float]:
    """Estimate the infinite forest's squared error, and by how much finite forests exceed it.

    Parameters
    ----------
    y : array of shape (n_rows,)
        Targets or class indices.
    weights : array of shape (n_rows,), optional
        Row weights.

    Returns
    -------
    error
        Mean squared error of the infinite forest; its Brier score for classification.
    variance
        Mean variance V of a vote, on the same scale. A forest of T trees has an expected error of
        error + V / T on new rows.
    """
    scorable = sums.scorable
    row_weights = None if weights is None else weights[scorable]
    error = float(np.average(squared_errors(sums, y)[scorable], weights=row_weights))
    scale = 1.0 if sums.total.ndim == 1 else brier_scale(sums.total.shape[1])
    return error, scale * float(np.average(sums.variance()[scorable], weights=row_weights))


def enough_trees(sums: OobSums, y: Array, weights: Array | None = None) -> int:
    """Return the size of the smallest forest within 0.5% of the infinite forest's squared error.

    With the estimates of `infinite_forest_error`, this is ceil(V / (0.005 * error)), between 1 and
    `UNBOUNDED`.
    """
    error, variance = infinite_forest_error(sums, y, weights)
    if variance <= 0:
        return 1
    if error <= 0:
        return UNBOUNDED
    return int(np.clip(np.ceil(variance / (_RELATIVE_EXCESS * error)), 1, UNBOUNDED))


def coverage(sums: OobSums, training_set: TrainingSet) -> float:
    """Return the share of the rows, by weight, that have two votes or more.

    For classification, the smallest of this share and the shares within each class. Rows that no
    fold tests do not count.
    """
    testable, y = training_set.test_mask, training_set.y
    parts = [testable] + [testable & (y == k) for k in range(training_set.n_classes)]
    weights = np.ones(len(y)) if training_set.weights is None else training_set.weights
    shares = [np.average(sums.scorable[p], weights=weights[p]) for p in parts if weights[p].any()]
    return float(min(shares, default=0.0))

"""The gate decides whether a candidate may replace an incumbent by their scores on the same rows.

The difference of the scores has a 95% percentile interval of a paired bootstrap (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993): rows are drawn with replacement, both forests
are scored on the same draw, and the difference is stored. Rows that belong together (of one group,
or repeated rows) are drawn together, as a unit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.errors import UsageError
from search.forest.metrics import Metric, get_metric
from search.types import Task

Array = NDArray[Any]

DRAWS = 1000
_LEVEL = 0.95
_SEED = 0
# If k units do not differ, all k differences share a sign with probability 2**(1 - k). For k < 6
# that exceeds 1 - _LEVEL, so there is no interval.
_MIN_UNITS = 6
# Draws on which the score must be defined; with fewer there is no interval.
_MIN_DRAWS = DRAWS // 2


@dataclass(frozen=True)
class Comparison:
    """The scores of two forecasts of the same rows, and the interval of their difference.

    Attributes
    ----------
    candidate, incumbent
        Scores in `metric`.
    low, high
        95% interval of candidate minus incumbent; NaN if there are fewer than six units, or if the
        score is defined on less than half of the draws.
    rows
        Number of rows compared, those of weight zero included.
    """

    metric: Metric
    candidate: float
    incumbent: float
    low: float
    high: float
    rows: int

    @property
    def worse_by(self) -> tuple[float, float, float]:
        """Lower bound, difference and upper bound of how much worse the candidate scores."""
        difference = self.candidate - self.incumbent
        if self.metric.direction == "minimize":
            return self.low, difference, self.high
        return -self.high, -difference, -self.low


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate passes, and why."""

    passed: bool
    text: str


def compare(
    metric: Metric,
    y: Array,
    candidate: Array,
    incumbent: Array,
    weights: Array | None = None,
    units: Array | None = None,
) -> Comparison:
    """Score two forecasts on the same rows and compute the interval of their difference.

    Parameters
    ----------
    y : array of shape (n,)
        Targets or class indices, as in `Metric.from_predictions`.
    candidate, incumbent : arrays of shape (n,), or (n, n_classes) for classification
        Forecasts.
    weights : array of shape (n,), optional
        Row weights.
    units : array of shape (n,), optional
        Unit of each row; the rows of a unit are drawn together. By default each row is a unit.
    """
    n_rows = len(y)
    if weights is not None:  # rows of weight zero carry no evidence
        kept = weights > 0
        y, candidate, incumbent = y[kept], candidate[kept], incumbent[kept]
        weights, units = weights[kept], None if units is None else units[kept]

    def score(forecast: Array, rows: Array | slice = slice(None)) -> float:
        drawn = None if weights is None else weights[rows]
        return float(metric.from_predictions(y[rows], forecast[rows], drawn))

    random = np.random.default_rng(_SEED)
    differences = []
    for rows in _draws(len(y), units, random):
        difference = score(candidate, rows) - score(incumbent, rows)
        if np.isfinite(difference):
            differences.append(difference)
    low = high = np.nan
    n_units = len(y) if units is None else len(np.unique(units))
    if n_units >= _MIN_UNITS and len(differences) >= _MIN_DRAWS:
        tail = (1 - _LEVEL) / 2
        low, high = np.quantile(differences, [tail, 1 - tail])
    return Comparison(metric, score(candidate), score(incumbent), float(low), float(high), n_rows)


def _draws(n_rows: int, units: Array | None, random: np.random.Generator) -> Iterator[Array]:
    """Yield the row numbers of each bootstrap draw."""
    if units is None:
        for _ in range(DRAWS):
            yield random.integers(n_rows, size=n_rows)
        return
    order = np.argsort(units, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(units[order])) + 1)
    for _ in range(DRAWS):
        yield np.concatenate([members[k] for k in random.integers(len(members), size=len(members))])


def judge(comparison: Comparison, tolerance: float = 0.0, *, strict: bool = False) -> Verdict:
    """Refuse a candidate that is shown to be worse: its whole interval is on the worse side.

    Parameters
    ----------
    tolerance
        By how much the candidate may be worse, as a fraction of the incumbent's score.
    strict
        Refuse the candidate unless it is shown to be better.
    """
    low, _, high = comparison.worse_by
    allowed = tolerance * abs(comparison.incumbent)
    if np.isnan(low):
        return Verdict(not strict, "no difference shown: too few rows to tell")
    if low > allowed:
        more = f" by more than {tolerance:.2%}" if tolerance else ""
        return Verdict(passed=False, text=f"shown to be worse{more}")
    if high < 0:
        return Verdict(passed=True, text="shown to be better")
    return Verdict(not strict, "no difference shown")


def judge_against_constant(comparison: Comparison) -> Verdict:
    """Refuse a candidate that does not score better than a constant forecast.

    This applies if the stage has no incumbent; the difference need not be significant.
    """
    better = comparison.worse_by[1] < 0
    return Verdict(better, f"{'better' if better else 'not better'} than a constant forecast")


def parse_requirement(text: str, task: Task) -> tuple[Metric, float]:
    """Parse ``METRIC=VALUE``.

    Raises
    ------
    UsageError
        If the text has another form, or the metric is unknown or does not fit the task.
    """
    name, separator, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = np.nan
    if not separator or np.isnan(number):
        raise UsageError(f"invalid --require {text}: give METRIC=VALUE, for instance rmse=60")
    return get_metric(name, task), number


def unmet_requirement(metric: Metric, bound: float, score: float) -> str | None:
    """Return a message if a score does not meet its bound, else None."""
    maximize = metric.direction == "maximize"
    if score >= bound if maximize else score <= bound:
        return None
    word = "least" if maximize else "most"
    return f"{metric.name} is {score:.5g}, but must be at {word} {bound:.5g}"

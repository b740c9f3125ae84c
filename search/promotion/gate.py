"""The gate: whether a candidate may replace an incumbent, by their scores on the same rows.

The interval is that of a paired bootstrap (Efron, Tibshirani 1993): rows are drawn with
replacement, both forests are scored on the same draw, and the difference is kept. Rows that belong
together (a group, repeated rows) are drawn together.
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
# Of k units that know no difference all point one way in 2^(1 - k) of cases: of fewer too often.
_ENOUGH_UNITS = 6
# Draws on which the score is defined; with fewer the interval says nothing.
_ENOUGH_DRAWS = DRAWS // 2


@dataclass(frozen=True)
class Comparison:
    """Two forecasts of the same rows, compared.

    Attributes
    ----------
    candidate, incumbent
        Scores in `metric`.
    low, high
        The 95% interval of candidate minus incumbent; not a number where the score is not defined
        on most draws.
    """

    metric: Metric
    candidate: float
    incumbent: float
    low: float
    high: float
    rows: int

    @property
    def worse_by(self) -> tuple[float, float, float]:
        """By how much the candidate is worse, at least, by its scores, and at most."""
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
    """Score two forecasts on the same rows, and say how sure their difference is.

    Parameters
    ----------
    y
        The target, shape (n,), as `Metric.from_predictions` takes it.
    candidate, incumbent
        Forecasts, shape (n,) or for classes (n, n_classes).
    weights
        Of the rows, shape (n,).
    units
        A number a row, shape (n,): rows of one number are drawn together. Default: each by itself.
    """
    n_rows = len(y)
    if weights is not None:  # what weighs nothing shows nothing
        counts = weights > 0
        y, candidate, incumbent = y[counts], candidate[counts], incumbent[counts]
        weights, units = weights[counts], None if units is None else units[counts]

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
    if n_units >= _ENOUGH_UNITS and len(differences) >= _ENOUGH_DRAWS:
        tail = (1 - _LEVEL) / 2
        low, high = np.quantile(differences, [tail, 1 - tail])
    return Comparison(metric, score(candidate), score(incumbent), float(low), float(high), n_rows)


def _draws(n_rows: int, units: Array | None, random: np.random.Generator) -> Iterator[Array]:
    """Yield the rows of each draw."""
    if units is None:
        for _ in range(DRAWS):
            yield random.integers(n_rows, size=n_rows)
        return
    order = np.argsort(units, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(units[order])) + 1)
    for _ in range(DRAWS):
        yield np.concatenate([members[k] for k in random.integers(len(members), size=len(members))])


def judge(comparison: Comparison, tolerance: float = 0.0, *, strict: bool = False) -> Verdict:
    """Refuse a candidate that is shown to be worse.

    Parameters
    ----------
    tolerance
        By how much it may be worse, as a share of the incumbent's score.
    strict
        Refuse it unless it is shown to be better.
    """
    least, _, most = comparison.worse_by
    allowed = tolerance * abs(comparison.incumbent)
    if np.isnan(least):
        return Verdict(not strict, "no difference shown: too few rows to tell")
    if least > allowed:
        more = f" by more than {tolerance:.2%}" if tolerance else ""
        return Verdict(passed=False, text=f"shown to be worse{more}")
    if most < 0:
        return Verdict(passed=True, text="shown to be better")
    return Verdict(not strict, "no difference shown")


def beats(comparison: Comparison) -> Verdict:
    """Whether a candidate that replaces nothing is better than a forecast that knows nothing."""
    better = comparison.worse_by[1] < 0
    return Verdict(better, f"{'better' if better else 'not better'} than a constant forecast")


def read_requirement(text: str, task: Task) -> tuple[Metric, float]:
    """Read ``METRIC=VALUE``.

    Raises
    ------
    UsageError
        When it is not of that form, or the metric is unknown or does not fit the task.
    """
    name, separator, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = np.nan
    if not separator or np.isnan(number):
        raise UsageError(f"--require {text} is no good: give METRIC=VALUE, for instance rmse=60")
    return get_metric(name, task), number


def misses(metric: Metric, bound: float, score: float) -> str | None:
    """Say what a score is and what it should be, where it does not reach its bound."""
    least = metric.direction == "maximize"
    if score >= bound if least else score <= bound:
        return None
    word = "least" if least else "most"
    return f"{metric.name} is {score:.5g}, required is at {word} {bound:.5g}"

"""The first trials: scikit-learn's default forest, then a portfolio of complementary ones."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from search.data.encoding import DEFAULT
from search.forest.growing import ENCODING
from search.study.search_space import default_params, point_of, smallest_leaf
from search.types import Task

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


class _Start(NamedTuple):
    splitter: str
    max_features: float
    min_samples_leaf: int
    max_samples: float
    class_weight: str | None = None


# Chosen greedily by benchmarks/portfolio.py, best first; docs/search.md has its results.
_PORTFOLIO: dict[Task, tuple[_Start, ...]] = {
    "regression": (
        _Start("best", 0.34, 2, 0.89),
        _Start("random", 0.95, 3, 0.28),
        _Start("best", 0.87, 1, 0.50),
        _Start("random", 0.93, 1, 0.87),
        _Start("best", 0.35, 1, 0.74),
        _Start("best", 0.39, 7, 0.46),
    ),
    "classification": (
        _Start("random", 0.93, 1, 0.87),
        _Start("best", 0.32, 4, 0.85),
        _Start("random", 0.40, 1, 0.72),
        _Start("random", 0.96, 1, 0.98),
        _Start("best", 0.43, 2, 0.27),
        _Start("random", 0.81, 2, 0.24),
        # `class_weight` is in the space only for metrics of rare classes.
        _Start("best", 0.35, 12, 0.57, "balanced_subsample"),
        _Start("random", 0.97, 3, 0.89, "balanced_subsample"),
        _Start("best", 0.5, 50, 0.9, "balanced_subsample"),
    ),
}


def warm_starts(
    task: Task, n_rows: int, n_features: int, space: Mapping[str, "BaseDistribution"]
) -> tuple[tuple[Mapping[str, Any], ...], int]:
    """Return the first points of a search.

    Returns
    -------
    the points, all inside the space, and how many of the first ones are scikit-learn's defaults,
    with larger leaves on large tables: 1, or 0 if they lie outside the space
    """
    encodings = getattr(space.get(ENCODING), "choices", (DEFAULT,))
    smallest = smallest_leaf(n_rows)
    default = default_params(task, n_features) | {ENCODING: encodings[0]}
    first = point_of(default | {"min_samples_leaf": smallest}, space)
    found = [] if first is None else [first]
    for place, start in enumerate(_PORTFOLIO[task], start=1):
        # Leaves are limited for small tables, where a large leaf would be the whole tree.
        leaf = max(smallest, min(start.min_samples_leaf, n_rows // 10))
        # Each encoding is tried by some of the first trials.
        encoding = encodings[place % len(encodings)]
        params = default | start._asdict() | {"min_samples_leaf": leaf, ENCODING: encoding}
        point = point_of(params, space)
        if point is not None and point not in found:
            found.append(point)
    return tuple(found), int(first is not None)

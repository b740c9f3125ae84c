"""The search space: hyperparameters as Optuna distributions, and scikit-learn's defaults."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from search.errors import UsageError
from search.spec import Choice, Range, Task

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_NAMES = ("max_features", "min_samples_leaf", "max_depth", "max_samples", "criterion")
_INTEGERS = frozenset({"min_samples_leaf", "max_depth"})
_LARGEST_LEAF = 64
_CRITERIA = {
    "regression": ("squared_error", "absolute_error", "friedman_mse", "poisson"),
    "classification": ("gini", "entropy", "log_loss"),
}


def make_space(
    task: Task, n_rows: int, n_features: int, changes: Mapping[str, Choice]
) -> dict[str, "BaseDistribution"]:
    """Return the distributions that trials are drawn from.

    Parameters
    ----------
    n_rows, n_features
        Of the training rows, as forests see them.
    changes
        The user's ``[space]``: replaces the default of each name in it.

    Raises
    ------
    UsageError
        When a name is no hyperparameter or a value is none of its values.
    """
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    leaf = max(1, min(_LARGEST_LEAF, n_rows // 10))
    space: dict[str, BaseDistribution] = {
        "max_features": FloatDistribution(min(0.1, 1 / n_features) if n_features > 1 else 1.0, 1.0),
        "min_samples_leaf": IntDistribution(1, leaf, log=True),
        "max_depth": CategoricalDistribution([None, 4, 8, 16]),
        "max_samples": FloatDistribution(0.3, 1.0),
    }
    for name, choice in changes.items():
        space[name] = _distribution(name, choice, task, n_rows)
    return space


def default_params(
    task: Task, n_features: int, space: Mapping[str, "BaseDistribution"]
) -> dict[str, Any] | None:
    """Return scikit-learn's own default forest as a point of the space, ``None`` if outside."""
    columns = n_features if task == "regression" else max(1, math.isqrt(n_features))
    # A share half a column above the mark: scikit-learn rounds share times columns down.
    share = 1.0 if columns == n_features else (columns + 0.5) / n_features
    defaults = {
        "max_features": share,
        "min_samples_leaf": 1,
        "max_depth": None,
        "max_samples": 1.0,
        "criterion": _CRITERIA[task][0],
    }
    point = {name: defaults[name] for name in space}
    inside = all(_contains(space[name], value) for name, value in point.items())
    return point if inside else None


def _contains(distribution: "BaseDistribution", value: Any) -> bool:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    if value is None or not isinstance(distribution, FloatDistribution | IntDistribution):
        return False
    return bool(distribution.low <= value <= distribution.high)


def _distribution(name: str, choice: Choice, task: Task, n_rows: int) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if name not in _NAMES:
        known = ", ".join(_NAMES)
        raise UsageError(f"[space] {name} is no hyperparameter that is searched: there are {known}")
    if not isinstance(choice, Range):
        choices = choice if isinstance(choice, tuple) else (choice,)
        if not choices:
            raise UsageError(f"[space] {name} is an empty list: give one value or more")
        for value in choices:
            _check_value(name, value, task, n_rows)
        return CategoricalDistribution(choices)
    _check_value(name, choice.low, task, n_rows)
    _check_value(name, choice.high, task, n_rows)
    if name in _INTEGERS:
        return IntDistribution(int(choice.low), int(choice.high), log=choice.log)
    return FloatDistribution(float(choice.low), float(choice.high), log=choice.log)


def _check_value(name: str, value: Any, task: Task, n_rows: int) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = isinstance(value, int) and number
    if name == "criterion":
        good, rule = value in _CRITERIA[task], f"one of {', '.join(_CRITERIA[task])}"
    elif name == "max_depth":
        good, rule = value is None or (whole and value >= 1), "a whole number from 1"
    elif name == "min_samples_leaf":
        good, rule = whole and 1 <= value <= n_rows, f"a whole number from 1 to {n_rows} rows"
    else:
        good, rule = number and 0 < value <= 1, "a share above 0, at most 1"
    if not good:
        raise UsageError(f"[space] {name} = {value!r} is no good: it is {rule}")

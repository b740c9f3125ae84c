"""The search space: hyperparameters as Optuna distributions, and scikit-learn's defaults."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from search.data.encoding import DEFAULT
from search.errors import UsageError
from search.forest.growing import ENCODING
from search.study.spec import Choice, Range
from search.types import Task

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_INTEGERS = frozenset({"min_samples_leaf", "max_depth"})
_SHARES = frozenset({"max_features", "max_samples"})
_LARGEST_LEAF = 64
# Leaves have at least this many rows on tables with at least this many training rows: smaller ones
# are rarely better there, and make models three to four times as large.
_MANY_ROWS, _SMALLEST_LEAF = 100_000, 3
_CRITERIA = {
    "regression": ("squared_error", "absolute_error", "poisson"),
    "classification": ("gini", "entropy"),
}
# Not `balanced`: it would weight the bootstrap itself, and rare classes would be in every sample.
_CLASS_WEIGHTS = (None, "balanced_subsample")
_RARE_CLASS_METRICS = ("balanced_accuracy", "f1", "jaccard", "matthews_corrcoef", "recall")
_SPLITTERS = ("best", "random")
# TOML has no null: this string means None.
_NONE = "none"
# Values of the hyperparameters that are not searched.
_UNSEARCHED = {
    "splitter": "best",
    "min_samples_leaf": 1,
    "max_depth": None,
    "max_samples": 1.0,
    "class_weight": None,
    ENCODING: DEFAULT,
}


def make_space(
    task: Task,
    n_rows: int,
    n_features: int,
    changes: Mapping[str, Choice],
    metric: str | None = None,
    encodings: Sequence[str] = (),
) -> dict[str, "BaseDistribution"]:
    """Return the distributions that trials are drawn from.

    ``class_weight`` is searched only if the metric measures how well rare classes are found,
    because a forest may then have to favour them. It only worsens scores of probabilities.

    Parameters
    ----------
    n_rows, n_features
        Shape of the training rows after encoding.
    changes
        The user's ``[space]``: replaces the default of each hyperparameter in it.
    metric
        Name of the study's metric.
    encodings
        Encodings of the table's categories; empty if there is nothing to choose.

    Raises
    ------
    UsageError
        If a name is not a hyperparameter that is searched, or a value is not valid for it.
    """
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    leaf = max(1, min(_LARGEST_LEAF, n_rows // 10))
    space: dict[str, BaseDistribution] = {
        "splitter": CategoricalDistribution(_SPLITTERS),
        "max_features": FloatDistribution(min(0.1, 1 / n_features) if n_features > 1 else 1.0, 1.0),
        "min_samples_leaf": IntDistribution(smallest_leaf(n_rows), leaf, log=True),
        "max_samples": FloatDistribution(0.2, 1.0),
    }
    if (metric or "").startswith(_RARE_CLASS_METRICS):
        space["class_weight"] = CategoricalDistribution(_CLASS_WEIGHTS)
    if encodings:
        space[ENCODING] = CategoricalDistribution(tuple(encodings))
    limits = _Limits(task, n_rows, tuple(encodings))
    for name, choice in changes.items():
        space[name] = _distribution(name, choice, limits)
    return space


def smallest_leaf(n_rows: int) -> int:
    """Return the smallest leaf, in rows, that is searched by default."""
    return _SMALLEST_LEAF if n_rows >= _MANY_ROWS else 1


def default_params(task: Task, n_features: int) -> dict[str, Any]:
    """Return the hyperparameters of scikit-learn's default forest."""
    columns = n_features if task == "regression" else max(1, math.isqrt(n_features))
    # Half a column is added because scikit-learn rounds the share times the columns down.
    share = 1.0 if columns == n_features else (columns + 0.5) / n_features
    return {
        "splitter": "best",
        "max_features": share,
        "min_samples_leaf": 1,
        "max_depth": None,
        "max_samples": 1.0,
        "criterion": _CRITERIA[task][0],
        "class_weight": None,
        ENCODING: DEFAULT,
    }


def point_of(
    params: Mapping[str, Any], space: Mapping[str, "BaseDistribution"]
) -> dict[str, Any] | None:
    """Return a forest's hyperparameters as a point of the space.

    Returns ``None`` if a value lies outside the space, or if the space lacks a hyperparameter
    whose value is not scikit-learn's default.
    """
    for name, value in params.items():
        if name in space:
            if not _contains(space[name], value):
                return None
        elif value != _UNSEARCHED.get(name, value):
            return None
    return {name: params[name] for name in space}


def forest_key(
    params: Mapping[str, Any], n_rows: int, n_features: Mapping[str | None, int]
) -> tuple[Any, ...]:
    """Return a key that is equal for hyperparameters that make the same forest.

    Different shares of the columns or rows can round down to the same number of them.

    Parameters
    ----------
    n_features
        Number of columns by encoding; by ``None`` if the encoding is not searched.
    """
    counted = dict(params)
    if "max_features" in counted:
        columns = n_features[counted.get(ENCODING)]
        counted["max_features"] = max(1, int(counted["max_features"] * columns))
    if "max_samples" in counted:
        counted["max_samples"] = max(1, int(counted["max_samples"] * n_rows))
    return tuple(sorted(counted.items(), key=lambda item: item[0]))


def _contains(distribution: "BaseDistribution", value: Any) -> bool:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    if value is None or not isinstance(distribution, FloatDistribution | IntDistribution):
        return False
    return bool(distribution.low <= value <= distribution.high)


class _Limits(NamedTuple):
    """What the values of hyperparameters are checked against."""

    task: Task
    n_rows: int
    encodings: tuple[str, ...]


def _distribution(name: str, choice: Choice, limits: _Limits) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if name not in _names(limits):
        known = ", ".join(_names(limits))
        if name == ENCODING:
            known += "; this table has no categories of more than two levels to encode"
        raise UsageError(f"invalid [space] {name}: the hyperparameters are {known}")
    if not isinstance(choice, Range):
        given = choice if isinstance(choice, tuple) else (choice,)
        choices = tuple(None if value == _NONE else value for value in given)
        if not choices:
            raise UsageError(f"invalid [space] {name}: the list is empty; give one or more values")
        for value in choices:
            _check_value(name, value, limits)
        if name in _SHARES:  # scikit-learn takes the integer 1 for one column or row
            choices = tuple(float(cast("float", value)) for value in choices)
        return CategoricalDistribution(choices)
    if _choices(name, limits):
        raise UsageError(
            f"invalid [space] {name}: it is not a number; give a value or a list of values"
        )
    _check_value(name, choice.low, limits)
    _check_value(name, choice.high, limits)
    if name in _INTEGERS:
        return IntDistribution(int(choice.low), int(choice.high), log=choice.log)
    return FloatDistribution(float(choice.low), float(choice.high), log=choice.log)


def _choices(name: str, limits: _Limits) -> tuple[Any, ...]:
    """Return the values of a categorical hyperparameter; empty for a numeric one."""
    by_name = {
        "splitter": _SPLITTERS,
        "criterion": _CRITERIA[limits.task],
        "class_weight": _CLASS_WEIGHTS,
        ENCODING: limits.encodings,
    }
    return by_name.get(name, ())


def _shown(value: Any) -> str:
    return _NONE if value is None else str(value)


def _names(limits: _Limits) -> list[str]:
    names = ["splitter", "max_features", "min_samples_leaf", "max_depth", "max_samples"]
    names.append("criterion")
    if limits.task == "classification":
        names.append("class_weight")
    return [*names, ENCODING] if limits.encodings else names


def _check_value(name: str, value: Any, limits: _Limits) -> None:
    n_rows = limits.n_rows
    number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = isinstance(value, int) and number
    choices = _choices(name, limits)
    if choices:
        valid = any(value == choice and type(value) is type(choice) for choice in choices)
        rule = f"one of {', '.join(_shown(choice) for choice in choices)}"
    elif name == "max_depth":
        valid, rule = value is None or (whole and value >= 1), f"a whole number from 1, or {_NONE}"
    elif name == "min_samples_leaf":
        valid, rule = whole and 1 <= value <= n_rows, f"a whole number from 1 to {n_rows} rows"
    else:
        valid, rule = number and 0 < value <= 1, "a share above 0, at most 1"
    if not valid:
        given = _NONE if value is None else value
        raise UsageError(f"invalid [space] {name} = {given!r}: it must be {rule}")

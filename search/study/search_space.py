"""The search space: hyperparameters as Optuna distributions, and scikit-learn's defaults."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from search.errors import UsageError
from search.study.spec import Choice, Range
from search.types import Task

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_INTEGERS = frozenset({"min_samples_leaf", "max_depth"})
_SHARES = frozenset({"max_features", "max_samples"})
_LARGEST_LEAF = 64
_CRITERIA = {
    "regression": ("squared_error", "absolute_error", "poisson"),
    "classification": ("gini", "entropy"),
}
# `balanced` would weigh the bootstrap itself: rare classes would stand in every bag.
_CLASS_WEIGHTS = (None, "balanced_subsample")
_OF_RARE_CLASSES = ("balanced_accuracy", "f1", "jaccard", "matthews_corrcoef", "recall")
_SPLITTERS = ("best", "random")
# TOML has no null: this text stands for None.
_NONE = "none"
# What a forest has of a hyperparameter that is not searched.
_UNSEARCHED = {
    "splitter": "best",
    "min_samples_leaf": 1,
    "max_depth": None,
    "max_samples": 1.0,
    "class_weight": None,
}


def make_space(
    task: Task,
    n_rows: int,
    n_features: int,
    changes: Mapping[str, Choice],
    metric: str | None = None,
) -> dict[str, "BaseDistribution"]:
    """Return the distributions that trials are drawn from.

    ``class_weight`` is among them where the metric counts how well rare classes are found: then a
    forest may have to lean towards them; a score of probabilities only loses by it.

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
        "splitter": CategoricalDistribution(_SPLITTERS),
        "max_features": FloatDistribution(min(0.1, 1 / n_features) if n_features > 1 else 1.0, 1.0),
        "min_samples_leaf": IntDistribution(1, leaf, log=True),
        "max_samples": FloatDistribution(0.2, 1.0),
    }
    if (metric or "").startswith(_OF_RARE_CLASSES):
        space["class_weight"] = CategoricalDistribution(_CLASS_WEIGHTS)
    for name, choice in changes.items():
        space[name] = _distribution(name, choice, task, n_rows)
    return space


def default_params(task: Task, n_features: int) -> dict[str, Any]:
    """Return scikit-learn's own default forest."""
    columns = n_features if task == "regression" else max(1, math.isqrt(n_features))
    # A share half a column above the mark: scikit-learn rounds share times columns down.
    share = 1.0 if columns == n_features else (columns + 0.5) / n_features
    return {
        "splitter": "best",
        "max_features": share,
        "min_samples_leaf": 1,
        "max_depth": None,
        "max_samples": 1.0,
        "criterion": _CRITERIA[task][0],
        "class_weight": None,
    }


def point_of(
    params: Mapping[str, Any], space: Mapping[str, "BaseDistribution"]
) -> dict[str, Any] | None:
    """Return a forest's hyperparameters as a point of the space.

    ``None`` where one of them lies outside, or where the space lacks one that is not at
    scikit-learn's default.
    """
    for name, value in params.items():
        if name in space:
            if not _contains(space[name], value):
                return None
        elif value != _UNSEARCHED.get(name, value):
            return None
    return {name: params[name] for name in space}


def forest_key(params: Mapping[str, Any], n_rows: int, n_features: int) -> tuple[Any, ...]:
    """Return what a forest is made with: equal for hyperparameters that make the same one.

    Shares of the columns and of the rows are whole numbers of them in the end.
    """
    counted = dict(params)
    if "max_features" in counted:
        counted["max_features"] = max(1, int(counted["max_features"] * n_features))
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


def _distribution(name: str, choice: Choice, task: Task, n_rows: int) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if name not in _names(task):
        known = ", ".join(_names(task))
        raise UsageError(f"[space] {name} is no hyperparameter that is searched: there are {known}")
    if not isinstance(choice, Range):
        given = choice if isinstance(choice, tuple) else (choice,)
        choices = tuple(None if value == _NONE else value for value in given)
        if not choices:
            raise UsageError(f"[space] {name} is an empty list: give one value or more")
        for value in choices:
            _check_value(name, value, task, n_rows)
        if name in _SHARES:  # a whole 1 would be one column, or one row, to scikit-learn
            choices = tuple(float(cast("float", value)) for value in choices)
        return CategoricalDistribution(choices)
    if _choices(name, task):
        raise UsageError(f"[space] {name} is no number: give a value or a list of values")
    _check_value(name, choice.low, task, n_rows)
    _check_value(name, choice.high, task, n_rows)
    if name in _INTEGERS:
        return IntDistribution(int(choice.low), int(choice.high), log=choice.log)
    return FloatDistribution(float(choice.low), float(choice.high), log=choice.log)


def _choices(name: str, task: Task) -> tuple[Any, ...]:
    """Return the values of a hyperparameter that is no number."""
    by_name = {
        "splitter": _SPLITTERS,
        "criterion": _CRITERIA[task],
        "class_weight": _CLASS_WEIGHTS,
    }
    return by_name.get(name, ())


def _shown(value: Any) -> str:
    return _NONE if value is None else str(value)


def _names(task: Task) -> list[str]:
    names = ["splitter", "max_features", "min_samples_leaf", "max_depth", "max_samples"]
    return [*names, "criterion"] + (["class_weight"] if task == "classification" else [])


def _check_value(name: str, value: Any, task: Task, n_rows: int) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = isinstance(value, int) and number
    choices = _choices(name, task)
    if choices:
        good = any(value == choice and type(value) is type(choice) for choice in choices)
        rule = f"one of {', '.join(_shown(choice) for choice in choices)}"
    elif name == "max_depth":
        good, rule = value is None or (whole and value >= 1), f"a whole number from 1, or {_NONE}"
    elif name == "min_samples_leaf":
        good, rule = whole and 1 <= value <= n_rows, f"a whole number from 1 to {n_rows} rows"
    else:
        good, rule = number and 0 < value <= 1, "a share above 0, at most 1"
    if not good:
        given = _NONE if value is None else value
        raise UsageError(f"[space] {name} = {given!r} is no good: it is {rule}")

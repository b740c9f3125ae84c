"""Metrics: their names, tasks and directions, and whether they are defined on a target.

Every scorer of scikit-learn that needs only the predictions of one target is available. Losses have
no `neg_` in their canonical name, are positive, and are minimized.

Metrics of squared errors have an infinite-forest form: the squared error of each row is corrected
for the finite number of trees (`oob.squared_errors`) before it is averaged.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from search.errors import UsageError
from search.forest import scorers
from search.types import Task
from storage.errors import did_you_mean

__all__ = [
    "EXCLUDED",
    "METRICS",
    "Metric",
    "check_metric",
    "evaluate",
    "get_metric",
    "names_for",
]

# `check_metric` skips targets with more classes, and uses about this many rows.
_MAX_CLASSES = 1000
_CHECK_ROWS = 5000
Array = NDArray[Any]


@dataclass(frozen=True)
class Metric:
    """A metric. A score that is not defined on the rows is not a finite number.

    Attributes
    ----------
    name
        Canonical name.
    from_predictions
        ``f(y, p, weights=None)`` with targets y of shape (n,), predictions p of shape (n,) and row
        weights of shape (n,). For classification, y holds class indices and p probabilities of
        shape (n, n_classes).
    from_squared_errors
        ``f(errors, y, weights, n_classes)`` with the squared error of each row, shape (n,), instead
        of predictions; ``None`` if the metric is not a function of squared errors.
    guide
        Name of the metric by which trials are compared and pruned at rungs; it has the same
        direction. ``None`` if they are compared by this metric itself.
    """

    name: str
    task: Task
    direction: Literal["minimize", "maximize"]
    from_predictions: Callable[[Array, Array, Array | None], float]
    from_squared_errors: scorers.SquaresScore | None = None
    guide: str | None = None

    def with_positive(self, positive: int) -> "Metric":
        """Return the metric with another positive class, if there are two classes.

        Parameters
        ----------
        positive
            Index of the positive class: 1, as in scikit-learn, or 0.
        """
        if positive or self.task == "regression":
            return self
        return replace(self, from_predictions=partial(_swapped, self.from_predictions))


def _swapped(score: scorers.Score, y: Array, p: Array, weights: Array | None = None) -> float:
    """Compute a score of two classes with the roles of the classes exchanged.

    The model predicts the first class if both are equally probable, and still does here.
    """
    swapped = p[:, ::-1].copy()
    swapped[p[:, 0] == p[:, 1], 1] = np.nextafter(0.5, 1)
    return score(1 - y, swapped, weights)


def _regression(squares: scorers.SquaresScore) -> tuple[scorers.Score, scorers.SquaresScore]:
    return partial(scorers.from_values, squares), squares


_D2_BRIER = partial(scorers.from_probabilities, scorers.d2_brier)
_MAIN = (
    Metric("rmse", "regression", "minimize", *_regression(scorers.rmse)),
    Metric("mse", "regression", "minimize", *_regression(scorers.mse)),
    Metric("mae", "regression", "minimize", scorers.mae),
    Metric("r2", "regression", "maximize", *_regression(scorers.r2)),
    Metric("brier", "classification", "minimize", scorers.brier, scorers.mse),
    Metric("log_loss", "classification", "minimize", scorers.log_loss, guide="brier"),
    Metric("accuracy", "classification", "maximize", scorers.accuracy),
    Metric("balanced_accuracy", "classification", "maximize", scorers.balanced_accuracy),
    Metric("f1", "classification", "maximize", scorers.f1),
    Metric("roc_auc", "classification", "maximize", scorers.roc_auc),
)
_FURTHER = (
    Metric("mean_poisson_deviance", "regression", "minimize", scorers.poisson_deviance),
    Metric("d2_brier_score", "classification", "maximize", _D2_BRIER, scorers.d2_brier),
    Metric(
        "d2_log_loss_score",
        "classification",
        "maximize",
        scorers.d2_log_loss,
        guide="d2_brier_score",
    ),
)
_BUILT_IN = {metric.name: metric for metric in _MAIN + _FURTHER}

# scikit-learn's other regression metrics; all its remaining metrics are for classification.
_REGRESSION = {
    "d2_absolute_error_score",
    "explained_variance",
    "max_error",
    "mean_absolute_percentage_error",
    "mean_gamma_deviance",
    "mean_squared_log_error",
    "median_absolute_error",
    "root_mean_squared_log_error",
}
_ALIASES = {
    "acc": "accuracy",
    "ami": "adjusted_mutual_info_score",
    "ap": "average_precision",
    "ari": "adjusted_rand_score",
    "auc": "roc_auc",
    "auroc": "roc_auc",
    "bacc": "balanced_accuracy",
    "balanced_acc": "balanced_accuracy",
    "brier_score": "brier",
    "brier_skill": "d2_brier_score",
    "cross_entropy": "log_loss",
    "gamma_deviance": "mean_gamma_deviance",
    "logloss": "log_loss",
    "mape": "mean_absolute_percentage_error",
    "mcc": "matthews_corrcoef",
    "mean_absolute_error": "mae",
    "mean_squared_error": "mse",
    "medae": "median_absolute_error",
    "msle": "mean_squared_log_error",
    "nmi": "normalized_mutual_info_score",
    "poisson_deviance": "mean_poisson_deviance",
    "rmsle": "root_mean_squared_log_error",
    "root_mean_squared_error": "rmse",
}
_LABELS = "it averages over several labels per row, and here each row has one class"
EXCLUDED = {f"{name}_samples": _LABELS for name in ("f1", "jaccard", "precision", "recall")}


class _Metrics(Mapping[str, Metric]):
    """All metrics by canonical name; scikit-learn is imported for names beyond `_BUILT_IN` only."""

    def __getitem__(self, name: str) -> Metric:
        return _BUILT_IN[name] if name in _BUILT_IN else _sklearn_metric(name)

    def __iter__(self) -> Iterator[str]:
        names = {name.removeprefix("neg_") for name in scorers.scorer_names()}
        return iter(
            [*_BUILT_IN, *sorted(names - _BUILT_IN.keys() - _ALIASES.keys() - EXCLUDED.keys())]
        )

    def __len__(self) -> int:
        return sum(1 for _ in self)


METRICS: Mapping[str, Metric] = _Metrics()


@cache
def _sklearn_metric(name: str) -> Metric:
    if name not in list(METRICS):
        raise KeyError(name)
    loss = f"neg_{name}" in scorers.scorer_names()
    return Metric(
        name,
        "regression" if name in _REGRESSION else "classification",
        "minimize" if loss else "maximize",
        partial(scorers.sklearn_metric, f"neg_{name}" if loss else name),
    )


def names_for(task: Task) -> list[str]:
    """Return the names of the main metrics for a task; the first is the default."""
    return [metric.name for metric in _MAIN if metric.task == task]


def get_metric(name: str | None, task: Task) -> Metric:
    """Return a metric by any of its names, or the task's default metric.

    Names are those of scikit-learn, with or without `neg_` and `_score`, and common abbreviations
    (`auc`, `mcc`, `rmsle`).

    Raises
    ------
    UsageError
        If the name is unknown, or the metric does not fit the task.
    """
    if name is None:
        return METRICS[names_for(task)[0]]
    metric = _find(name)
    if metric is not None and metric.task == task:
        return metric
    if metric is not None:
        raise UsageError(f"--metric {name} does not fit {task}: {_available(task)}")
    if (why := EXCLUDED.get(_plain(name))) is not None:
        raise UsageError(f"--metric {name} cannot be used: {why}; {_available(task)}")
    raise UsageError(f"--metric {name} is unknown{_hint(name, task)}: {_available(task)}")


def _plain(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def _find(name: str) -> Metric | None:
    plain = _plain(name)
    stem = plain.removeprefix("neg_")
    forms = (stem, stem.removesuffix("_score"), stem.removesuffix("_loss"), f"{stem}_score")
    for form in forms:
        metric = METRICS.get(_ALIASES.get(form, form))
        # Only losses have a name with `neg_`.
        if metric is not None and (plain == stem or metric.direction == "minimize"):
            return metric
    return None


def _hint(name: str, task: Task) -> str:
    """Suggest the closest known name, preferably one for this task."""
    names = {known: METRICS[known].task for known in METRICS}
    names |= {alias: METRICS[known].task for alias, known in _ALIASES.items()}
    stem = _plain(name).removeprefix("neg_")
    fitting = [known for known in names if names[known] == task]
    return did_you_mean(stem, fitting) or did_you_mean(stem, names)


def _available(task: Task) -> str:
    return f"for {task} there are {', '.join(names_for(task))}, and scikit-learn's other scorers"


def check_metric(metric: Metric, y: Array, n_classes: int, weights: Array | None = None) -> None:
    """Raise an error if a metric is not defined on a target.

    The metric is computed for a constant prediction: the mean of y, or the class frequencies. For
    classification this uses some thousands of rows that include every class. Targets of more than
    a thousand classes are not checked, because the predictions would take gigabytes.

    Parameters
    ----------
    y : array of shape (n,)
        float64, or the index of the class where `n_classes` is not 0.
    weights : array of shape (n,), optional
        Row weights.

    Raises
    ------
    UsageError
        If the metric is not defined, or not with these weights; the message gives scikit-learn's
        reason.
    """
    if n_classes > _MAX_CLASSES:
        return
    if n_classes:
        one_per_class = np.unique(y, return_index=True)[1]
        spread = np.linspace(0, len(y) - 1, min(len(y), _CHECK_ROWS)).astype(int)
        rows = np.union1d(one_per_class, spread)
        y, weights = y[rows], None if weights is None else weights[rows]
        p = np.tile(scorers.class_frequencies(y, n_classes, weights), (len(y), 1))
    else:
        p = np.full(len(y), scorers.weighted_mean(y, weights))
    reason = _why_undefined(metric, y, p, weights)
    if reason is None:
        return
    choose = f"choose another: {_available(metric.task)}"
    if weights is not None and _why_undefined(metric, y, p, None) is None:
        weighted = f"--metric {metric.name} does not work with these row weights ({reason})"
        raise UsageError(f"{weighted}: omit the weights, or {choose}")
    raise UsageError(f"--metric {metric.name} is not defined on this target ({reason}): {choose}")


def _why_undefined(metric: Metric, y: Array, p: Array, weights: Array | None) -> str | None:
    value = metric.from_predictions(y, p, weights)
    if np.isfinite(value):
        return None
    for name in {metric.name, f"neg_{metric.name}"} & scorers.scorer_names():
        try:
            scorers.sklearn_score(name, y, p, weights)
        except ValueError as error:
            return f"scikit-learn: {error}"
    return f"it is {value} if all rows get the same prediction"


def evaluate(
    metric: Metric, y: Array, p: Array, weights: Array | None = None, positive: int = 1
) -> dict[str, float]:
    """Compute a metric and the main metrics of its task; omit those not defined on these rows.

    Parameters
    ----------
    positive
        Index of the positive class, if there are two.
    """
    main = [METRICS[name].with_positive(positive) for name in names_for(metric.task)]
    chosen = [*main, metric]
    scores = {each.name: each.from_predictions(y, p, weights) for each in chosen}
    return {name: value for name, value in scores.items() if np.isfinite(value)}

"""Scores: their names, which tasks they fit, which way is better, and on which target they work.

Every scorer of scikit-learn that needs only the predictions of one target has a place here. A loss
has no `neg_` in its canonical name, is positive, and is minimized.

Squared-error scores have an infinite-forest form: the squared error is taken per row, free of the
share that a finite number of trees adds (`forest.squared_errors`), and only then averaged.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from search.errors import UsageError
from search.forest import scorers
from search.types import Task

__all__ = [
    "EXCLUDED",
    "METRICS",
    "Metric",
    "check_metric",
    "evaluate",
    "get_metric",
    "names_for",
]

# What a metric is tried on: up to so many classes, and about so many rows.
_MOST_CLASSES = 1000
_SOME_ROWS = 5000
Array = NDArray[Any]


@dataclass(frozen=True)
class Metric:
    """A score. Where it is not defined on the rows, it is not a finite number.

    Attributes
    ----------
    name
        The canonical one.
    from_predictions
        ``f(y, p, weights=None)``: y of shape (n,); p of shape (n,) for a regression, and for a
        classification probabilities of shape (n, n_classes), y being the index of the class;
        weights of the rows, shape (n,).
    from_squared_errors
        ``f(errors, y, weights, n_classes)``: squared errors a row, shape (n,), instead of
        predictions; ``None`` where the score is no function of squared errors.
    guide
        Name of the metric that prunes in its place; ``None`` where it prunes itself.
    """

    name: str
    task: Task
    direction: Literal["minimize", "maximize"]
    from_predictions: Callable[[Array, Array, Array | None], float]
    from_squared_errors: scorers.SquaresScore | None = None
    guide: str | None = None


def _regression(squares: scorers.SquaresScore) -> tuple[scorers.Score, scorers.SquaresScore]:
    return partial(scorers.of_values, squares), squares


_D2_BRIER = partial(scorers.of_probabilities, scorers.d2_brier)
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
_BESIDES = (
    Metric("mean_poisson_deviance", "regression", "minimize", scorers.poisson_deviance),
    Metric("d2_brier_score", "classification", "maximize", _D2_BRIER, scorers.d2_brier),
    Metric("d2_log_loss_score", "classification", "maximize", scorers.d2_log_loss, guide="brier"),
)
_OWN = {metric.name: metric for metric in _MAIN + _BESIDES}

# scikit-learn's other scores of values; what it has besides is of classes.
_OF_VALUES = {
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
_LABELS = "it is a mean over the several labels of a row, and here a row has one class"
EXCLUDED = {f"{name}_samples": _LABELS for name in ("f1", "jaccard", "precision", "recall")}


class _Metrics(Mapping[str, Metric]):
    """Every metric by its canonical name; scikit-learn is imported only beyond `_OWN`."""

    def __getitem__(self, name: str) -> Metric:
        return _OWN[name] if name in _OWN else _of_scikit_learn(name)

    def __iter__(self) -> Iterator[str]:
        names = {name.removeprefix("neg_") for name in scorers.scorer_names()}
        return iter([*_OWN, *sorted(names - _OWN.keys() - _ALIASES.keys() - EXCLUDED.keys())])

    def __len__(self) -> int:
        return sum(1 for _ in self)


METRICS: Mapping[str, Metric] = _Metrics()


@cache
def _of_scikit_learn(name: str) -> Metric:
    if name not in list(METRICS):
        raise KeyError(name)
    loss = f"neg_{name}" in scorers.scorer_names()
    return Metric(
        name,
        "regression" if name in _OF_VALUES else "classification",
        "minimize" if loss else "maximize",
        partial(scorers.by_scorer, f"neg_{name}" if loss else name),
    )


def names_for(task: Task) -> list[str]:
    """Names of the main metrics that fit a task; the first is the default."""
    return [metric.name for metric in _MAIN if metric.task == task]


def get_metric(name: str | None, task: Task) -> Metric:
    """Return a metric by any of its names, or the task's default.

    Names are scikit-learn's, with or without `neg_` and `_score`, and the short ones that people
    type (`auc`, `mcc`, `rmsle`).

    Raises
    ------
    UsageError
        When there is none of that name, or it does not fit the task.
    """
    if name is None:
        return METRICS[names_for(task)[0]]
    metric = _find(name)
    if metric is not None and metric.task == task:
        return metric
    if metric is not None:
        raise UsageError(f"--metric {name} does not fit {task}: {_there_are(task)}")
    if (why := EXCLUDED.get(_plain(name))) is not None:
        raise UsageError(f"--metric {name} cannot be used: {why}; {_there_are(task)}")
    near = _near(name, task)
    hint = f"did you mean {near}? F" if near else "F"
    raise UsageError(f"--metric {name} is unknown: {hint}{_there_are(task)[1:]}")


def _plain(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def _find(name: str) -> Metric | None:
    plain = _plain(name)
    stem = plain.removeprefix("neg_")
    forms = (stem, stem.removesuffix("_score"), stem.removesuffix("_loss"), f"{stem}_score")
    for form in forms:
        metric = METRICS.get(_ALIASES.get(form, form))
        # Only a loss has a negative: `neg_accuracy` is nobody's name.
        if metric is not None and (plain == stem or metric.direction == "minimize"):
            return metric
    return None


def _near(name: str, task: Task) -> str | None:
    """Return the name that was perhaps meant: of the task if there is one, else of the other."""
    names = {known: METRICS[known].task for known in METRICS}
    names |= {alias: METRICS[known].task for alias, known in _ALIASES.items()}
    stem = _plain(name).removeprefix("neg_")
    fitting = get_close_matches(stem, [known for known in names if names[known] == task], n=1)
    return next(iter(fitting or get_close_matches(stem, names, n=1)), None)


def _there_are(task: Task) -> str:
    return f"for {task} there are {', '.join(names_for(task))}, and scikit-learn's other scorers"


def check_metric(metric: Metric, y: Array, n_classes: int, weights: Array | None = None) -> None:
    """Refuse a metric that is not defined on a target, seen by what it says of a trivial forecast.

    The forecast is the mean of y, or the classes' shares, for every row; of a classification, for
    some thousands of rows with every class among them. Of more than a thousand classes nothing is
    asked: the forecast alone would take gigabytes.

    Parameters
    ----------
    y : array of shape (n,)
        float64, or the index of the class where `n_classes` is not 0.
    weights : array of shape (n,), optional
        Of the rows.

    Raises
    ------
    UsageError
        When it is not defined, or not with these weights; with scikit-learn's reason.
    """
    if n_classes > _MOST_CLASSES:
        return
    if n_classes:
        each = np.unique(y, return_index=True)[1]
        some = np.linspace(0, len(y) - 1, min(len(y), _SOME_ROWS)).astype(int)
        rows = np.union1d(each, some)
        y, weights = y[rows], None if weights is None else weights[rows]
        p = np.tile(scorers.shares(y, n_classes, weights), (len(y), 1))
    else:
        p = np.full(len(y), scorers.average(y, weights))
    why = _objection(metric, y, p, weights)
    if why is None:
        return
    choose = f"choose another: {_there_are(metric.task)}"
    if weights is not None and _objection(metric, y, p, None) is None:
        weighted = f"--metric {metric.name} does not work with these row weights ({why})"
        raise UsageError(f"{weighted}: leave them out, or {choose}")
    raise UsageError(f"--metric {metric.name} is not defined on this target ({why}): {choose}")


def _objection(metric: Metric, y: Array, p: Array, weights: Array | None) -> str | None:
    value = metric.from_predictions(y, p, weights)
    if np.isfinite(value):
        return None
    for name in {metric.name, f"neg_{metric.name}"} & scorers.scorer_names():
        try:
            scorers.score(name, y, p, weights)
        except ValueError as error:
            return f"scikit-learn: {error}"
    return f"it is {value} where all rows are predicted alike"


def evaluate(
    task: Task, y: Array, p: Array, weights: Array | None = None, metric: Metric | None = None
) -> dict[str, float]:
    """Compute the main metrics of the task, and `metric` besides, where defined on these rows."""
    chosen = [METRICS[name] for name in names_for(task)] + ([metric] if metric else [])
    scores = {each.name: each.from_predictions(y, p, weights) for each in chosen}
    return {name: value for name, value in scores.items() if np.isfinite(value)}

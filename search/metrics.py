"""Scores: their names, which tasks they fit, which way is better, and how they are computed.

Squared-error scores have an infinite-forest form: the squared error is taken per row, free of the
share that a finite number of trees adds (`forest.squared_errors`), and only then averaged.
"""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from search.errors import UsageError
from search.spec import Task

Array = NDArray[Any]


@dataclass(frozen=True)
class Metric:
    """A score.

    Attributes
    ----------
    of_predictions
        ``f(y, p)``: y of shape (n,); p of shape (n,) for a regression, and for a classification
        probabilities of shape (n, n_classes), y being the index of the class.
    of_squares
        ``f(errors, y)``: squared errors a row, shape (n,), instead of predictions; ``None`` where
        the score is no function of squared errors.
    """

    name: str
    task: Task
    direction: Literal["minimize", "maximize"]
    of_predictions: Callable[[Array, Array], float]
    of_squares: Callable[[Array, Array], float] | None = None


def _mse(errors: Array, _y: Array) -> float:
    return float(errors.mean())


def _rmse(errors: Array, _y: Array) -> float:
    # The estimate of a sum of squares can fall below 0 where the error is next to nothing.
    return float(np.sqrt(max(errors.mean(), 0.0)))


def _r2(errors: Array, y: Array) -> float:
    return float(1.0 - errors.mean() / y.var())


def _regression(squares: Callable[[Array, Array], float]) -> Callable[[Array, Array], float]:
    return lambda y, p: squares((y - p) ** 2, y)


def _mae(y: Array, p: Array) -> float:
    return float(np.abs(y - p).mean())


def brier_errors(y: Array, p: Array) -> Array:
    """Squared distance of the probabilities from the class that came true, shape (n,)."""
    return np.asarray(((p - np.eye(p.shape[1])[y]) ** 2).sum(axis=1))


def _brier(y: Array, p: Array) -> float:
    return float(brier_errors(y, p).mean())


def _accuracy(y: Array, p: Array) -> float:
    return float((p.argmax(axis=1) == y).mean())


def _balanced_accuracy(y: Array, p: Array) -> float:
    right = p.argmax(axis=1) == y
    return float(np.mean([right[y == k].mean() for k in np.unique(y)]))


def _f1(y: Array, p: Array) -> float:
    from sklearn.metrics import f1_score

    average = "binary" if p.shape[1] == 2 else "macro"  # noqa: PLR2004
    return float(f1_score(y, p.argmax(axis=1), average=average, zero_division=0.0))


def _roc_auc(y: Array, p: Array) -> float:
    from sklearn.metrics import roc_auc_score

    if p.shape[1] == 2:  # noqa: PLR2004
        return float(roc_auc_score(y, p[:, 1]))
    return float(roc_auc_score(y, p, multi_class="ovr", labels=np.arange(p.shape[1])))


def _log_loss(y: Array, p: Array) -> float:
    # One observation spread evenly over the classes stands in for what finite votes cannot say.
    smoothed = (p * 100 + 1 / p.shape[1]) / 101
    return float(-np.log(smoothed[np.arange(len(y)), y]).mean())


_ALL = (
    Metric("rmse", "regression", "minimize", _regression(_rmse), _rmse),
    Metric("mse", "regression", "minimize", _regression(_mse), _mse),
    Metric("mae", "regression", "minimize", _mae),
    Metric("r2", "regression", "maximize", _regression(_r2), _r2),
    Metric("brier", "classification", "minimize", _brier, _mse),
    Metric("log_loss", "classification", "minimize", _log_loss),
    Metric("accuracy", "classification", "maximize", _accuracy),
    Metric("balanced_accuracy", "classification", "maximize", _balanced_accuracy),
    Metric("f1", "classification", "maximize", _f1),
    Metric("roc_auc", "classification", "maximize", _roc_auc),
)
METRICS = {metric.name: metric for metric in _ALL}


def names_for(task: Task) -> list[str]:
    """Names of the metrics that fit a task; the first is the default."""
    return [name for name, metric in METRICS.items() if metric.task == task]


def get_metric(name: str | None, task: Task) -> Metric:
    """Return a metric by name, or the task's default.

    Raises
    ------
    UsageError
        When there is none of that name, or it does not fit the task.
    """
    fitting = names_for(task)
    if name is None:
        return METRICS[fitting[0]]
    if name in fitting:
        return METRICS[name]
    there_are = f"for {task} there are {', '.join(fitting)}"
    if name in METRICS:
        raise UsageError(f"--metric {name} does not fit {task}: {there_are}")
    near = get_close_matches(name, fitting, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UsageError(f"--metric {name} is unknown: {hint}{there_are[0].upper()}{there_are[1:]}")


def evaluate(task: Task, y: Array, p: Array) -> dict[str, float]:
    """Compute every metric of the task that is defined on these rows."""
    scores = {name: METRICS[name].of_predictions(y, p) for name in names_for(task)}
    return {name: value for name, value in scores.items() if np.isfinite(value)}

"""The champion: the best trial's forest, grown on all training rows, judged on the hold-out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from search.dataset import Dataset
from search.forest import champion_seed, make_forest
from search.metrics import evaluate

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Champion:
    """A pipeline from raw rows to predictions, and its scores on the hold-out by metric.

    `holdout` is empty where no row was held out.
    """

    pipeline: Any
    trees: int
    holdout: Mapping[str, float]


def make_champion(
    dataset: Dataset, params: Mapping[str, Any], trees: int, seed: int, jobs: int
) -> Champion:
    """Refit a trial's forest with `trees` trees on the training rows, and score it.

    Parameters
    ----------
    seed
        The study's: the same seed makes the same forest.
    jobs
        Threads to grow with; they change nothing in the result.
    """
    from sklearn.pipeline import Pipeline

    forest = make_forest(params, dataset.n_classes, trees, champion_seed(seed), jobs)
    forest.fit(dataset.X, dataset.labels)
    # Threads add up predictions in the order in which they end: one is the same every time.
    forest.set_params(n_jobs=1)
    pipeline = Pipeline([("table", dataset.vectorizer), ("forest", forest)])
    holdout = {}
    if len(dataset.held_out_y):
        predicted = predict(pipeline, dataset.held_out_features, dataset.task)
        holdout = evaluate(dataset.task, dataset.held_out_y, predicted)
    return Champion(pipeline, trees, holdout)


def predict(pipeline: Any, rows: Any, task: str) -> "NDArray[Any]":
    """Predict raw rows: values, or for a classification the classes' probabilities."""
    if task == "classification":
        return np.asarray(pipeline.predict_proba(rows))
    return np.asarray(pipeline.predict(rows))

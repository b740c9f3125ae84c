"""The champion: the best trial's forest, grown on all training rows, judged on the hold-out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from search.data.dataset import Dataset
from search.environment import free_memory
from search.errors import StudyError
from search.forest.growing import champion_seed, fit_forest, make_forest
from search.forest.memory import max_tree_bytes, node_bytes
from search.forest.metrics import Metric, evaluate
from search.forest.oob import UNBOUNDED
from search.formatting import size

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST, MOST = 100, 1000
# Percent of the infinite forest's error, with trees that are enough.
_EXCESS = 0.5
# Bytes from which on a model is unwieldy.
_LARGE = 200e6
_WELL_COVERED = 0.9
# So often a forest is in memory while it is saved: MLflow writes it, and reads it to see if it can.
COPIES_SAVED = 4


@dataclass(frozen=True)
class Champion:
    """A pipeline from raw rows to predictions, and its scores on the hold-out by metric.

    Attributes
    ----------
    params
        The trial's hyperparameters.
    n_bytes
        About what the trees take, in memory and on disk.
    holdout
        Empty where no row was held out.
    """

    pipeline: Any
    params: Mapping[str, Any]
    trees: int
    n_bytes: int
    holdout: Mapping[str, float]


def champion_size(asked: int | Literal["auto"], enough: int | None) -> int:
    """Return how many trees to keep: as asked for, or what is enough, from 100 to 1,000."""
    if asked != "auto":
        return asked
    return FEWEST if enough is None else min(max(enough, FEWEST), MOST)


def make_champion(
    dataset: Dataset, metric: Metric, params: Mapping[str, Any], trees: int, seed: int, jobs: int
) -> Champion:
    """Refit a trial's forest with `trees` trees on the training rows, and score it.

    Parameters
    ----------
    metric
        Scored by beside the task's main ones.
    seed
        The study's: the same seed makes the same forest.
    jobs
        Threads to grow with; they change nothing in the result.

    Raises
    ------
    StudyError
        When so many trees would not fit into memory.
    """
    from sklearn.pipeline import Pipeline

    check_fits(dataset, params, trees, seed)
    forest = make_forest(params, dataset.n_classes, trees, champion_seed(seed), jobs)
    fit_forest(forest, dataset.X, dataset.labels, dataset.weights)
    # Threads add up predictions in the order in which they end: one is the same every time.
    forest.set_params(n_jobs=1)
    pipeline = Pipeline([("table", dataset.vectorizer), ("forest", forest)])
    holdout = {}
    if len(dataset.held_out_y):
        predicted = predict(pipeline, dataset.held_out_features, dataset.task)
        weights = dataset.held_out_roles.weights
        holdout = evaluate(dataset.task, dataset.held_out_y, predicted, weights, metric)
    return Champion(pipeline, params, trees, _bytes_of(forest, dataset), holdout)


def check_fits(
    dataset: Dataset, params: Mapping[str, Any], trees: int, seed: int, copies: int = 1
) -> None:
    """Raise `StudyError` where `copies` of the trees are too large together.

    Where that could be, one tree is grown and measured.
    """
    free, grown = free_memory(), copies * trees
    if grown * max_tree_bytes(len(dataset.y), dataset.n_classes) < free:
        return
    one = make_forest(params, dataset.n_classes, 1, champion_seed(seed))
    needed = grown * _bytes_of(fit_forest(one, dataset.X, dataset.labels, dataset.weights), dataset)
    if needed > free:
        classes = f" of {dataset.n_classes} classes" if dataset.n_classes else ""
        saved = " while it is saved" if copies > 1 else ""
        fewer = max(1, int(trees * free / needed / 2))
        raise StudyError(
            f"a champion of {trees} trees{classes} takes {size(needed)}{saved}, and {size(free)} "
            f"are free: the same launch with --trees {fewer} makes a smaller one; so do larger "
            "leaves, by [space] min_samples_leaf"
        )


def _bytes_of(forest: Any, dataset: Dataset) -> int:
    n_nodes = sum(tree.tree_.node_count for tree in forest.estimators_)
    return int(n_nodes * node_bytes(dataset.n_classes))


def predict(pipeline: Any, rows: Any, task: str) -> "NDArray[Any]":
    """Predict raw rows: values, or for a classification the classes' probabilities."""
    if task == "classification":
        return np.asarray(pipeline.predict_proba(rows))
    return np.asarray(pipeline.predict(rows))


def remarks(champion: Champion, enough: int | None, covered: float | None) -> Iterator[str]:
    """Yield what is to be said of a champion before it is kept.

    Parameters
    ----------
    enough
        Trees with which its squared error is within 0.5% of the infinite forest's.
    covered
        Least share of a class's rows that were scored; ``None`` for all of them.
    """
    text = f"champion: {champion.trees} trees, about {size(champion.n_bytes)}"
    if enough is not None and enough < UNBOUNDED:
        more = _EXCESS * enough / champion.trees
        text += f"; squared error {more:.2g}% above the infinite forest's"
    yield text
    if champion.n_bytes > _LARGE:
        fewer = f"--trees {champion.trees // 2}, or " if champion.trees >= 2 * FEWEST else ""
        yield (
            f"that is large; smaller: {fewer}fewer and larger leaves by [space] min_samples_leaf = "
            "{low = 5, high = 50, log = true}"
        )
    if covered is not None and covered < _WELL_COVERED:
        yield (
            f"only {covered:.0%} of the rows, or of some class, had votes enough to be scored: "
            "--evaluation cv scores them all"
        )

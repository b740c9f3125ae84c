"""The champion: the best trial's forest, refitted on all training rows, scored on the hold-out."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from search.data.dataset import Dataset
from search.data.encoding import default_output
from search.environment import free_memory
from search.errors import StudyError
from search.forest.fitting import (
    GrowElsewhere,
    assemble,
    champion_seed,
    fit_forest,
    grow_parts,
    make_forest,
)
from search.forest.growing import ENCODING
from search.forest.memory import max_tree_bytes, node_bytes
from search.forest.metrics import Metric, evaluate
from search.forest.oob import UNBOUNDED, RungResult
from search.formatting import size
from storage.records import TrialRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_TREES, MAX_TREES = 100, 1000
# `enough_trees` accepts a squared error that exceeds the infinite forest's by this percentage.
_EXCESS = 0.5
# Larger models, in bytes, get a message about how to make them smaller.
_LARGE = 200e6
# Champions of more bytes than this get fewer trees; their file has about 120 MB.
_VERY_LARGE = 500e6
_WELL_COVERED = 0.9
# Seconds around the growing of a champion: its scores, registration, and the study's report; the
# seconds to save a byte of it, and the factor by which trees take longer than in the search.
_SECONDS_AROUND, _SECONDS_PER_BYTE, _TIMES_GROWING = 6.0, 20e-9, 1.1
# Seconds for which a champion may grow after the time limit.
_LEAST_GROWING = 1.0
# Seconds of a tree that can be distinguished from none.
_SHORTEST = 1e-4
# Copies of a forest in memory while MLflow saves it and loads it again as a check.
COPIES_SAVED = 4


@dataclass(frozen=True)
class Champion:
    """A pipeline from raw rows to predictions, and its scores on the hold-out by metric.

    Attributes
    ----------
    params
        Hyperparameters of the trial.
    n_bytes
        Approximate size of the trees in memory; their file is three to five times smaller.
    holdout
        Empty if no rows were held out.
    """

    pipeline: Any
    params: Mapping[str, Any]
    trees: int
    n_bytes: int
    holdout: Mapping[str, float]


class ChampionForecast(NamedTuple):
    """What is known of a champion before it grows.

    Attributes
    ----------
    trees, auto_trees
        Number of trees, and their number if the user does not ask for one.
    tree_bytes
        Size of a tree in memory.
    """

    trees: int
    auto_trees: int
    tree_bytes: float

    @property
    def n_bytes(self) -> int:
        """Size of the trees in memory."""
        return int(self.trees * self.tree_bytes)


class TreeCost(NamedTuple):
    """What a tree on all training rows costs: seconds of one core, and bytes of memory.

    Zeros if it is not known.
    """

    seconds: float = 0.0
    n_bytes: float = 0.0

    def champion_seconds(self, jobs: int) -> float:
        """Return how much longer it takes to make and save a champion with one more tree.

        Parameters
        ----------
        jobs
            Number of trees that grow at the same time.
        """
        growing = _TIMES_GROWING * max(self.seconds, _SHORTEST) / jobs
        return growing + _SECONDS_PER_BYTE * self.n_bytes


def champion_size(asked: int | Literal["auto"], trial: TrialRecord) -> int:
    """Return the requested number of trees, or for "auto" the number in the trial's forecast."""
    if asked != "auto":
        return asked
    return trial.model_steps or auto_size(trial.enough_steps or MIN_TREES)


def auto_size(enough: int, tree_bytes: float = 0.0) -> int:
    """Return the number of trees of a champion for which the user does not ask for a number.

    It is `enough`, limited to 100 to 1,000. If these trees take more than 500 MB, it is the number
    that takes 500 MB, but at least half of them, so that the squared error stays within 1% of the
    infinite forest's.

    Parameters
    ----------
    enough
        Number of trees at which the squared error is within 0.5% of the infinite forest's.
    tree_bytes
        Size of a tree in memory.
    """
    trees = min(max(enough, MIN_TREES), MAX_TREES)
    if trees * tree_bytes <= _VERY_LARGE:
        return trees
    return max(int(_VERY_LARGE / tree_bytes), math.ceil(trees / 2))


def forecast_champion(
    asked: int | Literal["auto"],
    n_rows: int,
    n_classes: int,
    params: Mapping[str, Any],
    result: RungResult,
) -> ChampionForecast:
    """Forecast the size of the champion that a trial would become.

    The nodes of a tree are taken to grow in proportion to its rows. A maximum depth bounds them.

    Parameters
    ----------
    asked
        Requested number of trees.
    n_rows
        Number of all training rows.
    params
        Hyperparameters of the trial.
    result
        The trial's last result, perhaps on a sample of the rows.
    """
    nodes = result.nodes / result.trees * n_rows / result.rows
    depth = params.get("max_depth")
    if depth is not None:
        nodes = min(nodes, 2 ** (depth + 1) - 1)
    tree_bytes = nodes * node_bytes(n_classes)
    auto_trees = auto_size(result.enough_trees, tree_bytes)
    return ChampionForecast(auto_trees if asked == "auto" else asked, auto_trees, tree_bytes)


def forecast_seconds(trees: int, cost: TreeCost, jobs: int) -> float:
    """Forecast how long it takes to make and register a champion, in seconds."""
    return _SECONDS_AROUND + trees * cost.champion_seconds(jobs)


def affordable_trees(seconds: float, cost: TreeCost, jobs: int) -> int:
    """Return the largest champion, in trees, that `forecast_seconds` expects within `seconds`.

    It may always take a second, and has at least as many trees as grow at the same time.
    """
    remaining = max(_LEAST_GROWING, seconds - _SECONDS_AROUND)
    return max(jobs, int(remaining / cost.champion_seconds(jobs)))


def make_champion(
    dataset: Dataset,
    metric: Metric,
    params: Mapping[str, Any],
    trees: int,
    seed: int,
    jobs: int,
    grow: GrowElsewhere | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Champion:
    """Refit a trial's forest with `trees` trees on the training rows, and score it.

    Parameters
    ----------
    metric
        Metric to score in addition to the task's main metrics.
    seed
        Seed of the study: the same seed makes the same forest.
    jobs
        Number of threads to grow with; it does not change the result.
    grow
        Grows the trees elsewhere; by default, they grow in this process.
    progress
        Called with the number of trees grown so far.

    Raises
    ------
    StudyError
        If the trees would not fit into memory, or cannot be grown elsewhere.
    """
    from sklearn.pipeline import Pipeline

    encoded = dataset.encode(params.get(ENCODING))
    check_fits(dataset, params, trees, seed)
    # A fitted forest predicts with one thread: several would add up in the order in which they end.
    make = partial(make_forest, params, dataset.n_classes, trees, champion_seed(seed))
    rows, weights = dataset.training_rows(params.get(ENCODING)), dataset.weights
    if grow is None:
        grown = grow_parts(make, rows, dataset.y, weights, jobs)
    else:
        grown = grow(params, champion_seed(seed), trees)
    parts, done = [], 0
    for part in grown:
        parts.append(part)
        done += len(part[1])
        progress(done)
    forest = assemble(make(), rows, dataset.labels, weights, parts)
    selection = [] if dataset.is_numeric else _selection(dataset)
    pipeline = Pipeline([*selection, *encoded.steps, ("forest", forest)])
    holdout = {}
    if len(dataset.held_out_y):
        predicted = predict(pipeline, dataset.held_out_features, dataset.task)
        weights = dataset.held_out_roles.weights
        holdout = evaluate(metric, dataset.held_out_y, predicted, weights, dataset.positive)
    return Champion(pipeline, params, trees, _bytes_of(forest, dataset), holdout)


def _selection(dataset: Dataset) -> list[tuple[str, Any]]:
    """Return the step that leaves out all other columns, such as dropped ones."""
    if dataset.vectorizes_numbers and not dataset.description.drop:
        return []  # as in records of format 1
    from skrub import SelectCols

    features = dataset.features
    return [("columns", SelectCols(list(features.columns)).fit(features))]


class MemoryFit(NamedTuple):
    """How many of the requested trees fit into memory, and the bytes that all need and are free."""

    trees: int
    needed: int
    free: int


def fit_memory(
    dataset: Dataset, params: Mapping[str, Any], trees: int, seed: int, copies: int = 1
) -> MemoryFit:
    """Return how many of the trees fit into memory if there are `copies` of each.

    If not all fit, it is the number that takes half of the free memory. One tree is grown to
    measure its size, unless even an upper bound fits.
    """
    free, grown = free_memory(), copies * trees
    most = int(grown * max_tree_bytes(len(dataset.y), dataset.n_classes))
    if most < free:
        return MemoryFit(trees, most, free)
    one = make_forest(params, dataset.n_classes, 1, champion_seed(seed))
    X = dataset.training_rows(params.get(ENCODING))
    needed = grown * _bytes_of(fit_forest(one, X, dataset.labels, dataset.weights), dataset)
    fitting = trees if needed <= free else max(1, int(trees * free / needed / 2))
    return MemoryFit(fitting, needed, free)


def check_fits(
    dataset: Dataset, params: Mapping[str, Any], trees: int, seed: int, copies: int = 1
) -> None:
    """Raise `StudyError` if `copies` of the trees do not fit into memory together."""
    fit = fit_memory(dataset, params, trees, seed, copies)
    if fit.trees < trees:
        classes = f" of {dataset.n_classes} classes" if dataset.n_classes else ""
        saved = " while it is saved" if copies > 1 else ""
        raise StudyError(
            f"a champion of {trees} trees{classes} takes {size(fit.needed)}{saved}, but only "
            f"{size(fit.free)} are free: launch again with --trees {fit.trees}, or with larger "
            "leaves by [space] min_samples_leaf"
        )


def _bytes_of(forest: Any, dataset: Dataset) -> int:
    n_nodes = sum(tree.tree_.node_count for tree in forest.estimators_)
    return int(n_nodes * node_bytes(dataset.n_classes))


@default_output()
def predict(pipeline: Any, rows: Any, task: str) -> "NDArray[Any]":
    """Predict raw rows: values for a regression, class probabilities for a classification."""
    if task == "classification":
        return np.asarray(pipeline.predict_proba(rows))
    return np.asarray(pipeline.predict(rows))


def messages(champion: Champion, enough: int | None, covered: float | None) -> Iterator[str]:
    """Yield messages about a champion's size and how well it was scored.

    Parameters
    ----------
    enough
        Number of trees at which the squared error is within 0.5% of the infinite forest's.
    covered
        Smallest share of a class's rows that were scored; ``None`` if all of them were.
    """
    text = f"champion: {champion.trees} trees, about {size(champion.n_bytes)} in memory"
    if enough is not None and enough < UNBOUNDED:
        more = _EXCESS * enough / champion.trees
        text += f"; squared error {more:.2g}% above the infinite forest's"
    yield text
    if champion.n_bytes > _LARGE:
        fewer = f"--trees {champion.trees // 2}, or " if champion.trees >= 2 * MIN_TREES else ""
        yield (
            f"the model is large; to make it smaller: {fewer}larger leaves by [space] "
            "min_samples_leaf = {low = 5, high = 50, log = true}"
        )
    if covered is not None and covered < _WELL_COVERED:
        yield (
            f"only {covered:.0%} of the rows, or of a class, had enough votes to be scored: "
            "--evaluation cv scores all rows"
        )

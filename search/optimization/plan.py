"""The inputs of a search: search space, metric, rungs, number of trials and time limit."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from search.data.encoding import DEFAULT
from search.forest.metrics import Metric
from search.forest.oob import RungResult
from search.forest.rungs import Rung
from search.forest.training_set import TrainingSet
from search.model.champion import MIN_TREES, ChampionForecast, TreeCost, forecast_champion
from search.study.problem import Problem
from search.study.search_space import forest_key
from search.study.warm_starts import warm_starts

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


# Largest share of a launch's time that is reserved for what follows the search.
_MOST_RESERVED = 0.5


@dataclass(frozen=True)
class Plan:
    """The inputs of a coordinator.

    Attributes
    ----------
    space
        Distributions of the hyperparameters by name.
    forest_key
        Function that returns equal keys for hyperparameters that make the same forest.
    rungs
        Numbers of rows and trees at which trials are compared.
    chunk
        Trees in a chunk; the rungs are multiples of it.
    seed
        The study's seed.
    trials
        Number of finished trials (complete or pruned) at which the search ends.
    initial_params
        Hyperparameters of the first trials, before the sampler proposes any.
    n_unpruned
        Number of initial trials that are never pruned, so that the study's result is never worse
        than theirs.
    deadline
        Latest end of the launch as a value of `time.monotonic`, in seconds; ``None`` for no limit.
    reserve
        Returns the seconds to leave before the deadline, given the cost of a tree of the best
        forest.
    forecast
        Forecasts the champion of a trial, given its hyperparameters and last result.
    """

    space: Mapping[str, "BaseDistribution"]
    forest_key: Callable[[Mapping[str, Any]], Hashable]
    metric: Metric
    rungs: tuple[Rung, ...]
    chunk: int
    seed: int
    trials: int
    initial_params: tuple[Mapping[str, Any], ...] = ()
    n_unpruned: int = 0
    deadline: float | None = None
    reserve: Callable[[TreeCost], float] = lambda _: 0.0
    forecast: Callable[[Mapping[str, Any], RungResult], ChampionForecast] = lambda _, __: (
        ChampionForecast(MIN_TREES, MIN_TREES, 0.0)
    )


def _n_features(training_set: TrainingSet) -> dict[str | None, int]:
    """Return the number of columns by encoding."""
    default = int(training_set.X.shape[1])
    columns: dict[str | None, int] = {None: default, DEFAULT: default}
    for name, matrix in training_set.encodings.items():
        columns[name] = matrix.n_columns
    return columns


def make_plan(problem: Problem, began: float, reserve: Callable[[TreeCost], float]) -> Plan:
    """Return the plan of a problem.

    Parameters
    ----------
    began
        Start of the launch, a value of `time.monotonic`.
    reserve
        See `Plan`. At least half of the launch's time is left for the search.
    """
    spec, training_set = problem.spec, problem.training_set
    n_rows, n_features = training_set.X.shape
    initial_params, n_unpruned = warm_starts(
        problem.dataset.task, n_rows, n_features, problem.space
    )
    return Plan(
        space=problem.space,
        forest_key=partial(forest_key, n_rows=n_rows, n_features=_n_features(training_set)),
        metric=problem.metric,
        rungs=training_set.rungs,
        chunk=training_set.chunk,
        seed=spec.seed,
        trials=spec.trials,
        initial_params=initial_params,
        # All trials are compared on a sample of the rows before any of them continues.
        n_unpruned=0 if training_set.rungs[0].keep else n_unpruned,
        deadline=None if spec.timeout is None else began + spec.timeout,
        reserve=lambda cost: min(reserve(cost), (spec.timeout or 0.0) * _MOST_RESERVED),
        forecast=partial(forecast_champion, spec.trees, n_rows, training_set.n_classes),
    )

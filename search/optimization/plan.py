"""What a coordinator is to search, as a problem has it."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from search.forest.metrics import Metric
from search.study.problem import Problem
from search.study.search_space import forest_key
from search.study.warm_starts import warm_starts

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class Plan:
    """What to search.

    Attributes
    ----------
    forest_key
        Gives equal answers for hyperparameters that make the same forest.
    rungs
        Numbers of trees at which trials are compared.
    chunk
        Trees in a chunk; the rungs are multiples of it.
    trials
        Finished trials in all, complete or pruned.
    first
        Hyperparameters of the first trials, before the sampler proposes any.
    kept
        So many of them are never pruned, so that the study is never worse than they are.
    deadline
        On the monotonic clock, in seconds; ``None`` for no time limit.
    """

    space: Mapping[str, "BaseDistribution"]
    forest_key: Callable[[Mapping[str, Any]], Hashable]
    metric: Metric
    rungs: tuple[int, ...]
    chunk: int
    seed: int
    trials: int
    first: tuple[Mapping[str, Any], ...] = ()
    kept: int = 0
    deadline: float | None = None


def make_plan(problem: Problem, began: float) -> Plan:
    """Plan the search of a problem, from a moment on the monotonic clock."""
    spec, rows = problem.spec, problem.training_set
    n_rows, n_features = rows.X.shape
    first, kept = warm_starts(problem.dataset.task, n_rows, n_features, problem.space)
    return Plan(
        space=problem.space,
        forest_key=partial(forest_key, n_rows=n_rows, n_features=n_features),
        metric=problem.metric,
        rungs=problem.resampling.rungs,
        chunk=rows.chunk,
        seed=spec.seed,
        trials=spec.trials,
        first=first,
        kept=kept,
        deadline=None if spec.timeout is None else began + spec.timeout,
    )

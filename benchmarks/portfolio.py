"""Choose the first configurations of a search from the results of `forests.py`.

    python benchmarks/portfolio.py --folder forests

The choice is greedy. scikit-learn's default comes first. Each next configuration is the one that
most lowers the mean over the tables of: best test error of the chosen configurations relative to
the best of all. The output is the content of `search/study/warm_starts.py`, with the mean after
each choice.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from forests import configurations, params_of
from numpy.typing import NDArray

# Limit the influence of a table on which one configuration is far better.
_MOST = np.log(1.2)


def losses(folder: Path, task: str) -> NDArray[Any]:
    """Return the log of the ratio of each configuration's test error to the best.

    Returns
    -------
    array of shape (n_tables, n_configurations), averaged over the splits of a table
    """
    tables: dict[str, list[NDArray[Any]]] = {}
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as found:
            if json.loads(str(found["about"]))["task"] == task:
                loss = np.log(found["test"]) * (0.5 if task == "regression" else 1.0)
                tables.setdefault(file.stem.rpartition("-")[0], []).append(loss)
    means = [np.mean(splits, axis=0) for splits in tables.values()]
    return np.array([np.minimum(mean - mean.min(), _MOST) for mean in means])


def choose(loss: NDArray[Any], allowed: list[int], n: int) -> list[int]:
    """Return the indices of the chosen configurations, the default first."""
    chosen = [0]
    while len(chosen) <= n:
        covered = loss[:, chosen].min(axis=1)
        chosen.append(min(allowed, key=lambda k: float(np.minimum(covered, loss[:, k]).mean())))
    return chosen


def main() -> None:
    """Choose and print configurations for both tasks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("forests"))
    parser.add_argument("--configurations", type=int, default=60)
    parser.add_argument("--size", type=int, default=7)
    arguments = parser.parse_args()
    found = configurations(arguments.configurations)
    for task, n_classes in (("regression", 0), ("classification", 2)):
        loss = losses(arguments.folder, task)
        print(f"{task}, {len(loss)} tables")
        chosen = choose(loss, list(range(1, len(found))), arguments.size)
        for k, number in enumerate(chosen):
            mean = np.exp(loss[:, chosen[: k + 1]].min(axis=1).mean())
            print(f"  {mean:.4f}  {params_of(found[number], n_classes)}")


if __name__ == "__main__":
    main()

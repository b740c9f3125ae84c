"""Grovekeeper as one of the peers, run by its command line, and the trace of its studies."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from measure import Measured, run
from tables import Split, Table
from traces import Trace, Trial, unix_time

_COMMAND = str(Path(sys.executable).with_name("grovekeeper"))
_STUDY = "benchmark"
_PACKAGES = ("grovekeeper", "scikit-learn", "optuna", "mlflow", "distributed")
# Trials of two studies; their difference gives the cost of a trial in the coordinator.
_FEW, _MANY = 10, 110


def launch(table: Table, trials: int, folder: Path, *more: str) -> Measured:
    """Search on train.csv in the folder, with new databases there; `more` are further options."""
    command = [_COMMAND, "launch", _STUDY, "--data", "train.csv", "--target", table.target]
    command += ["--task", table.task, "--trials", str(trials), "--holdout", "0", "--no-register"]
    return run([*command, *more], folder)


def read_study(folder: Path, began: float) -> tuple[Trace, dict[str, Any]]:
    """Return the trace of the study in a folder and the document of `grovekeeper show`."""
    import optuna

    shown = json.loads(_output([_COMMAND, "show", _STUDY, "--json"], folder))
    study = optuna.load_study(
        study_name=_STUDY, storage=f"sqlite:///{(folder / 'optuna.db').resolve()}"
    )
    trials = []
    for trial in study.trials:
        if trial.datetime_start is None or trial.datetime_complete is None:
            continue
        complete = trial.state == optuna.trial.TrialState.COMPLETE
        trials.append(
            Trial(
                unix_time(trial.datetime_complete) - began,
                trial.value if complete else None,
                trial.params,
                grow_seconds=trial.user_attrs.get("fit_seconds"),
            )
        )
    first = min(trial.datetime_start for trial in study.trials if trial.datetime_start)
    versions = {package: version(package) for package in _PACKAGES}
    growing = shown["seconds"]["growing"]
    start_up = unix_time(first) - began
    return Trace(start_up, trials, shown["best"]["params"], growing, versions), shown


def coordinating(split: Split) -> float:
    """CPU seconds per trial in the coordinator's process: Optuna, MLflow, Dask.

    The difference between a long and a short study, with the same number of trees in the end, so
    that start-up and champion cancel out. Trees grow in other processes.
    """
    spent = []
    for trials in (_FEW, _MANY):
        with tempfile.TemporaryDirectory() as name:
            split.write(Path(name))
            spent.append(launch(split.table, trials, Path(name), "--trees", "100").own_cpu)
    return (spent[1] - spent[0]) / (_MANY - _FEW)


def _output(command: Sequence[str], folder: Path) -> str:
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout

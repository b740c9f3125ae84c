"""Copies of a folder in which a study was launched: one launch serves a whole test run."""

import subprocess
from pathlib import Path

from mlflow_stores import copy_database, copy_store
from processes import COMMAND, environment
from shared import made_once


def copy_launched(folder: Path) -> None:
    """Copy the stores of a diabetes study with ten trials, and its artifacts, to a folder."""
    original = made_once("launched", _launch)
    copy_database(original / "optuna.db", folder / "optuna.db")
    copy_store(original, folder)


def _launch(folder: Path) -> None:
    command = [COMMAND, "launch", "--trials", "10"]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

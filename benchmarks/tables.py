"""The tables of the benchmark and their splits, as files that all peers read."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.model_selection import train_test_split

Task = Literal["regression", "classification"]
Array = NDArray[Any]

TEST_SHARE = 0.2
# File name without .csv -> target and task.
_FILES: dict[str, tuple[str, Task]] = {
    "Hitters": ("Salary", "regression"),
    "Boston": ("medv", "regression"),
    "College": ("Apps", "regression"),
    "OJ": ("Purchase", "classification"),
    "Default": ("default", "classification"),
}
_SCIKIT_LEARN: dict[str, Task] = {
    "diabetes": "regression",
    "breast_cancer": "classification",
    "wine": "classification",
    "digits": "classification",
}


@dataclass(frozen=True)
class Table:
    """A table converted to numbers.

    Attributes
    ----------
    X : frame of shape (n_rows, n_features)
        Text is converted to ordinals, missing values are NaN.
    y : array of shape (n_rows,)
        float64 targets or class indices.
    """

    name: str
    target: str
    task: Task
    X: pd.DataFrame
    y: Array


@dataclass(frozen=True)
class Split:
    """Training and test rows of a table, drawn with seed `number`."""

    table: Table
    number: int
    X_train: Array
    y_train: Array
    X_test: Array
    y_test: Array

    def write(self, folder: Path) -> None:
        """Write the training rows as train.csv, for command lines, and as train.npz."""
        rows = pd.DataFrame(self.X_train, columns=self.table.X.columns)
        rows[self.table.target] = self.y_train
        rows.to_csv(folder / "train.csv", index=False)
        np.savez(folder / "train.npz", X=self.X_train, y=self.y_train)


def load_tables(
    folder: Path | None, others: Iterable[str] = (), only: Iterable[str] | None = None
) -> list[Table]:
    """Return the tables of the benchmark, smallest first.

    Parameters
    ----------
    folder
        Folder of the CSV files; without it, only scikit-learn's tables are used.
    others
        More tables, each ``FILE:TARGET:TASK``.
    only
        Names of the tables to return; default: all.

    Raises
    ------
    SystemExit
        If a table, column or task does not exist.
    """
    tables = [_bundled(name, task) for name, task in _SCIKIT_LEARN.items()]
    if folder is not None:
        tables += [_csv(folder / f"{name}.csv", *rest) for name, rest in _FILES.items()]
    tables += [_described(text) for text in others]
    names = [table.name for table in tables]
    if unknown := set(only or ()) - set(names):
        raise SystemExit(f"no table {', '.join(sorted(unknown))}: there are {', '.join(names)}")
    wanted = [table for table in tables if only is None or table.name in set(only)]
    return sorted(wanted, key=lambda table: table.X.size)


def make_split(table: Table, number: int) -> Split:
    """Split 80 to 20 at random, stratified by class in a classification."""
    classes = table.y if table.task == "classification" else None
    parts = train_test_split(
        table.X.to_numpy(float),
        table.y,
        test_size=TEST_SHARE,
        random_state=number,
        stratify=classes,
    )
    X_train, X_test, y_train, y_test = parts
    return Split(table, number, X_train, y_train, X_test, y_test)


def _bundled(name: str, task: Task) -> Table:
    frame = getattr(datasets, f"load_{name}")(as_frame=True).frame
    return _table(name, frame, "target", task)


def _csv(path: Path, target: str, task: Task) -> Table:
    frame = pd.read_csv(path)
    if target not in frame:
        raise SystemExit(f"{path} has no column {target}")
    return _table(path.stem, frame, target, task)


def _described(text: str) -> Table:
    file, target, task = text.rsplit(":", 2)
    if task == "regression":
        return _csv(Path(file), target, "regression")
    if task == "classification":
        return _csv(Path(file), target, "classification")
    raise SystemExit(f"--table {text}: the task is regression or classification, not {task}")


def _table(name: str, frame: pd.DataFrame, target: str, task: Task) -> Table:
    frame = frame.dropna(subset=[target]).reset_index(drop=True)
    y = frame.pop(target).to_numpy()
    for column in frame.select_dtypes(exclude="number"):
        codes = frame[column].astype("category").cat.codes
        frame[column] = codes.where(codes >= 0)
    if task == "classification":
        return Table(name, target, task, frame, np.unique(y, return_inverse=True)[1])
    return Table(name, target, task, frame, y.astype(float))

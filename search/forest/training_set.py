"""The training rows as workers have them: arrays in a folder, mapped into memory, loaded once."""

import os
import shutil
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.forest.resampling import CHUNK, Resampling
from storage.host import this_host

Array = NDArray[Any]
_FOLDER = "grovekeeper-rows-"
# From so many values on (rows times columns), a chunk has so many trees.
_SMALLER_CHUNKS = ((10_000_000, 1), (500_000, 4))


@dataclass(frozen=True)
class TrainingSet:
    """The rows that trees grow on.

    Attributes
    ----------
    X : float32 array of shape (n_rows, n_features)
    y : array of shape (n_rows,)
        float64, or the index of the class where `n_classes` is not 0.
    n_classes
        0 for a regression.
    weights : array of shape (n_rows,), or None
        Mean 1.
    """

    X: Array
    y: Array
    n_classes: int
    resampling: Resampling = Resampling()
    weights: Array | None = None

    @property
    def chunk(self) -> int:
        """Trees in a chunk: by the table's size alone, so that a forest is the same everywhere."""
        return next((trees for values, trees in _SMALLER_CHUNKS if self.X.size >= values), CHUNK)

    @cached_property
    def has_missing(self) -> bool:
        """Whether `X` has missing values."""
        return bool(np.isnan(self.X).any())

    @cached_property
    def test_mask(self) -> Array:
        """Which rows are voted on at all; booleans of shape (n_rows,)."""
        return self.resampling.test_mask(len(self.y))

    @cached_property
    def blocks(self) -> Array:
        """Number of each row's block, for the error of comparisons; shape (n_rows,)."""
        return self.resampling.blocks(len(self.y))

    def save(self, folder: Path) -> None:
        """Write the rows as files that `load_training_set` reads."""
        arrays = {"y": self.y, "n_classes": np.array(self.n_classes)}
        if self.weights is not None:
            arrays["weights"] = self.weights
        if self.resampling.units is not None:
            arrays["units"] = self.resampling.units
        for k, (train, test) in enumerate(self.resampling.folds):
            arrays |= {f"train{k}": train, f"test{k}": test}
        np.savez(folder / "rows.npz", allow_pickle=False, **arrays)
        np.save(folder / "X.npy", np.ascontiguousarray(self.X, dtype=np.float32))


def make_folder() -> "TemporaryDirectory[str]":
    """Make a folder for this process's rows, and remove those of processes that were killed."""
    import psutil

    # Machines and containers may share the folder for such folders, but no processes.
    ours = f"{_FOLDER}{sha256(this_host().encode()).hexdigest()[:8]}-"
    for folder in Path(gettempdir()).glob(f"{ours}*"):
        owner = folder.name.removeprefix(ours).partition("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
    return TemporaryDirectory(prefix=f"{ours}{os.getpid()}-")


# On a worker of a cluster: where this process has each study's rows; ``None`` where it could not.
LOCATIONS: dict[str, Path | None] = {}


class MissingTrainingSetError(Exception):
    """This worker has not got the rows of a study."""


def find_training_set(key: str) -> TrainingSet:
    """Return the rows that workers find under a key: a folder, or what `LOCATIONS` has for it.

    Raises
    ------
    MissingTrainingSetError
        Where this process could not take them.
    """
    place = LOCATIONS.get(key, Path(key))
    if place is None:
        raise MissingTrainingSetError(key)
    return load_training_set(place)


@lru_cache(maxsize=2)
def load_training_set(folder: Path) -> TrainingSet:
    """Read what `TrainingSet.save` wrote, with `X` mapped so that local workers share its memory.

    Kept for the next task of the same process. Mapped copy-on-write, though nobody writes:
    scikit-learn's trees ask for a writable array where values are missing.
    """
    with np.load(folder / "rows.npz", allow_pickle=False) as arrays:
        n_folds = sum(name.startswith("train") for name in arrays)
        folds = tuple((arrays[f"train{k}"], arrays[f"test{k}"]) for k in range(n_folds))
        return TrainingSet(
            X=np.load(folder / "X.npy", mmap_mode="c"),
            y=arrays["y"],
            n_classes=int(arrays["n_classes"]),
            resampling=Resampling(arrays.get("units"), folds),
            weights=arrays.get("weights"),
        )


def writable(X: Any) -> Array:
    """Return rows as an array that may be written; scikit-learn looks for gaps in no other.

    pandas shows a single column as one that may not.
    """
    return np.require(X, requirements="W")

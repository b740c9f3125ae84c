"""The training rows as workers read them: arrays in a folder, mapped into memory, loaded once."""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.forest.resampling import CHUNK, Resampling
from search.forest.rungs import Rung, make_rungs, sample_rows
from storage.host import this_host

Array = NDArray[Any]
# Name of the file of the matrix in the default encoding.
_DEFAULT_FILE = "X.npy"
_FOLDER_PREFIX = "grovekeeper-rows-"
# Seconds between two looks for a matrix that another process writes.
_POLL = 0.02
# Trees in a chunk of large tables, by the number of values in X (rows times columns).
_SMALLER_CHUNKS = ((10_000_000, 1), (500_000, 4))


@dataclass(frozen=True)
class PendingMatrix:
    """The training rows in an encoding, which is computed when a trial first needs it.

    Attributes
    ----------
    n_columns
        Number of columns.
    compute
        Returns the rows: a float32 array of shape (n_rows, n_columns).
    """

    n_columns: int
    compute: Callable[[], Array]


@dataclass(frozen=True)
class TrainingSet:
    """The rows that trees are trained on and scored on.

    Attributes
    ----------
    X : float32 array of shape (n_rows, n_features)
        The rows in the default encoding.
    y : array of shape (n_rows,)
        float64 targets, or class indices if `n_classes` is not 0.
    n_classes
        0 for regression.
    resampling
        How the rows are divided between training and voting.
    weights : array of shape (n_rows,), or None
        Row weights, with mean 1.
    chunk
        Trees in a chunk; by default, it follows from the table's size. A sample has the chunks of
        the whole table.
    encodings
        The rows in the other encodings that trials may choose, by their names.
    positive
        Index of the positive class, if there are two.
    """

    X: Array
    y: Array
    n_classes: int
    resampling: Resampling = Resampling()
    weights: Array | None = None
    encodings: Mapping[str, PendingMatrix] = field(default_factory=dict)
    chunk: int = 0
    positive: int = 1

    def __post_init__(self) -> None:
        if not self.chunk:
            sizes = (trees for values, trees in _SMALLER_CHUNKS if self.X.size >= values)
            object.__setattr__(self, "chunk", next(sizes, CHUNK))

    def matrix(self, encoding: str | None) -> Array:
        """Return the rows in an encoding; ``None`` or its name for the default one."""
        if encoding is None or encoding not in self.encodings:
            return self.X
        if encoding not in self._matrices:
            self._matrices[encoding] = self.encodings[encoding].compute()
        return self._matrices[encoding]

    @cached_property
    def _matrices(self) -> dict[str, Array]:
        return {}

    @cached_property
    def rungs(self) -> tuple[Rung, ...]:
        """The numbers of rows and trees at which trials are compared."""
        return make_rungs(self.y, self.n_classes, self.resampling)

    @cached_property
    def _samples(self) -> "dict[int, TrainingSet]":
        return {}

    def sample(self, n_rows: int) -> "TrainingSet":
        """Return a sample of the rows, the same at each call; all rows if there are not more.

        A sample is made once for each number of rows, and kept.
        """
        if n_rows >= len(self.y):
            return self
        if n_rows not in self._samples:
            rows = sample_rows(self.y, self.n_classes, self.resampling, n_rows)
            weights = None if self.weights is None else self.weights[rows]
            self._samples[n_rows] = TrainingSet(
                X=np.asarray(self.X[rows]),
                y=self.y[rows],
                n_classes=self.n_classes,
                resampling=self.resampling.subset(rows),
                weights=None if weights is None else weights / weights.mean(),
                encodings={
                    name: PendingMatrix(
                        matrix.n_columns, partial(self._rows_of, encoding=name, rows=rows)
                    )
                    for name, matrix in self.encodings.items()
                },
                chunk=self.chunk,
                positive=self.positive,
            )
        return self._samples[n_rows]

    def _rows_of(self, encoding: str, rows: Array) -> Array:
        return np.asarray(self.matrix(encoding)[rows])

    @property
    def nbytes(self) -> int:
        """Bytes of the rows in all encodings."""
        columns = sum(matrix.n_columns for matrix in self.encodings.values())
        return self.X.nbytes + columns * len(self.y) * self.X.itemsize

    def has_missing(self, encoding: str | None) -> bool:
        """Return whether the rows have missing values in an encoding; see `matrix`."""
        if encoding not in self._missing:
            self._missing[encoding] = bool(np.isnan(self.matrix(encoding)).any())
        return self._missing[encoding]

    @cached_property
    def _missing(self) -> dict[str | None, bool]:
        return {}

    @cached_property
    def test_mask(self) -> Array:
        """Mask of the rows that some tree can vote on; shape (n_rows,)."""
        return self.resampling.test_mask(len(self.y))

    @cached_property
    def blocks(self) -> Array:
        """Block number of each row, for the jackknife; shape (n_rows,)."""
        return self.resampling.blocks(len(self.y))

    def save(self, folder: Path) -> None:
        """Write the files that `load_training_set` reads, except for the other encodings."""
        widths = {name: matrix.n_columns for name, matrix in self.encodings.items()}
        arrays = {
            "y": self.y,
            "n_classes": np.array(self.n_classes),
            "positive": np.array(self.positive),
            "encodings": np.array(list(widths), dtype=str),
            "widths": np.array(list(widths.values()), dtype=int),
        }
        if self.weights is not None:
            arrays["weights"] = self.weights
        if self.resampling.units is not None:
            arrays["units"] = self.resampling.units
        for k, (train, test) in enumerate(self.resampling.folds):
            arrays |= {f"train{k}": train, f"test{k}": test}
        np.savez(folder / "rows.npz", allow_pickle=False, **arrays)
        np.save(folder / _DEFAULT_FILE, np.ascontiguousarray(self.X, dtype=np.float32))

    def save_encoding(self, folder: Path, encoding: str) -> None:
        """Compute another encoding, and write its file into the folder of `save`.

        Processes that have loaded the training set may wait for the file already.
        """
        matrix, file = self.encodings[encoding].compute(), _encoding_file(folder, encoding)
        unfinished = file.with_suffix(".part")
        with unfinished.open("wb") as stream:
            np.save(stream, np.ascontiguousarray(matrix, dtype=np.float32))
        unfinished.replace(file)


@lru_cache(maxsize=2)
def load_training_set(folder: Path) -> TrainingSet:
    """Read what `TrainingSet.save` wrote, and cache it for the next task of this process.

    The matrices are memory-mapped, so that the workers of one machine share their pages. They are
    mapped copy-on-write although nobody writes to them: scikit-learn's trees require a writable
    array if values are missing. The first use of another encoding waits until it has been written.
    """
    with np.load(folder / "rows.npz", allow_pickle=False) as arrays:
        n_folds = sum(name.startswith("train") for name in arrays)
        folds = tuple((arrays[f"train{k}"], arrays[f"test{k}"]) for k in range(n_folds))
        return TrainingSet(
            X=np.load(folder / _DEFAULT_FILE, mmap_mode="c"),
            y=arrays["y"],
            n_classes=int(arrays["n_classes"]),
            resampling=Resampling(arrays.get("units"), folds),
            weights=arrays.get("weights"),
            encodings={
                str(name): PendingMatrix(
                    int(width), partial(_wait_and_map, _encoding_file(folder, str(name)))
                )
                for name, width in zip(arrays["encodings"], arrays["widths"], strict=True)
            },
            positive=int(arrays["positive"]),
        )


def _encoding_file(folder: Path, encoding: str) -> Path:
    return folder / f"X-{encoding}.npy"


def _wait_and_map(file: Path) -> Array:
    while not file.exists():  # the process that writes it ends this one if it fails
        time.sleep(_POLL)
    matrix: Array = np.load(file, mmap_mode="c")
    return matrix


# Folder of each training set that was sent to this worker process, by key. The value is None if
# this worker could not store it.
LOCATIONS: dict[str, Path | None] = {}


class MissingTrainingSetError(Exception):
    """This worker has no copy of a study's training set."""


def find_training_set(key: str) -> TrainingSet:
    """Return the training set with a key: an entry of `LOCATIONS`, or the path of a folder.

    Raises
    ------
    MissingTrainingSetError
        If this process could not store the training set.
    """
    folder = LOCATIONS.get(key, Path(key))
    if folder is None:
        raise MissingTrainingSetError(key)
    return load_training_set(folder)


def make_folder() -> "TemporaryDirectory[str]":
    """Make a temporary folder for training sets, and remove those of processes that were killed."""
    import psutil

    # Machines and containers may share a temporary folder but not their process ids: the prefix
    # contains the host.
    prefix = f"{_FOLDER_PREFIX}{sha256(this_host().encode()).hexdigest()[:8]}-"
    for folder in Path(gettempdir()).glob(f"{prefix}*"):
        owner = folder.name.removeprefix(prefix).partition("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
    return TemporaryDirectory(prefix=f"{prefix}{os.getpid()}-")


def writable(X: Any) -> Array:
    """Return X as a writable array.

    scikit-learn looks for missing values in writable arrays only, and pandas returns a single
    column as a read-only one.
    """
    return np.require(X, requirements="W")

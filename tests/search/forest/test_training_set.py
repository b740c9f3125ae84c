import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made import make_training_set, resampled

from search.forest.resampling import CHUNK, Resampling
from search.forest.training_set import (
    PendingMatrix,
    TrainingSet,
    load_training_set,
    make_folder,
)


def assert_equal(one: TrainingSet, other: TrainingSet) -> None:
    np.testing.assert_array_equal(one.X, other.X)
    np.testing.assert_array_equal(one.y, other.y)
    assert one.n_classes == other.n_classes
    for a, b in ((one.weights, other.weights), (one.resampling.units, other.resampling.units)):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a, b)
    for folds, others in zip(one.resampling.folds, other.resampling.folds, strict=True):
        for numbers, other_numbers in zip(folds, others, strict=True):
            np.testing.assert_array_equal(numbers, other_numbers)


@pytest.mark.parametrize("n_classes", [0, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("divided", ["rows", "units", "folds"])
def test_a_saved_training_set_is_read_back(
    n_classes: int, weighted: bool, divided: str, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    y = np.arange(30) % 3 if n_classes else random.normal(size=30)
    weights = random.uniform(1, 2, 30) if weighted else None
    rows = make_training_set(random.normal(size=(30, 4)), y, n_classes, weights)
    folds = tuple((np.arange(k), np.arange(k, 30)) for k in range(3, 25, 2))
    division = {
        "rows": Resampling(),
        "units": Resampling(np.arange(30) // 2),
        "folds": Resampling(np.arange(30), folds),
    }
    rows = resampled(rows, **vars(division[divided]))
    rows.save(tmp_path)
    assert_equal(load_training_set(tmp_path), rows)


def test_features_are_mapped_copy_on_write_and_loaded_once(
    tmp_path: Path, few: TrainingSet
) -> None:
    few.save(tmp_path)
    loaded = load_training_set(tmp_path)
    assert isinstance(loaded.X, np.memmap)
    assert loaded.X.dtype == np.float32
    assert loaded.X.flags.c_contiguous
    assert load_training_set(tmp_path) is loaded
    loaded.X[0, 0] = 7.0
    load_training_set.cache_clear()
    assert load_training_set(tmp_path).X[0, 0] == few.X[0, 0]


def test_an_encoding_is_computed_once_and_only_when_it_is_needed(few: TrainingSet) -> None:
    calls = []

    def compute() -> np.ndarray:
        calls.append(1)
        return few.X[:, :2] * 2

    rows = replace(few, encodings={"half": PendingMatrix(2, compute)})
    assert rows.nbytes == few.nbytes + few.X[:, :2].nbytes
    sample = rows.sample(50)
    assert sample.matrix("ordinal") is sample.X
    assert not calls
    assert sample.matrix("half").shape == (50, 2)
    np.testing.assert_array_equal(rows.matrix("half"), few.X[:, :2] * 2)
    assert len(calls) == 1


def test_a_loaded_training_set_waits_for_an_encoding_that_is_written_later(
    few: TrainingSet, tmp_path: Path
) -> None:
    rows = replace(few, encodings={"half": PendingMatrix(2, lambda: few.X[:, :2] * 2)})
    rows.save(tmp_path)
    loaded = load_training_set(tmp_path)
    assert loaded.nbytes == rows.nbytes
    assert not (tmp_path / "X-half.npy").exists()
    writing = threading.Timer(0.3, rows.save_encoding, (tmp_path, "half"))
    writing.start()
    np.testing.assert_array_equal(loaded.matrix("half"), few.X[:, :2] * 2)
    writing.join()
    assert {path.name for path in tmp_path.iterdir()} == {"rows.npz", "X.npy", "X-half.npy"}


def test_missing_values_are_detected(diabetes: TrainingSet) -> None:
    assert not diabetes.has_missing(None)
    holes = diabetes.X.copy()
    holes[3, 2] = np.nan
    assert make_training_set(holes, diabetes.y).has_missing(None)


def test_chunks_of_large_tables_are_smaller_and_divide_every_rung() -> None:
    sizes = []
    for n_rows in (100, 100_000, 3_000_000):
        X = np.broadcast_to(np.float32(0), (n_rows, 10))
        sizes.append(TrainingSet(X, np.zeros(n_rows), 0).chunk)
    assert sizes[0] == CHUNK
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < CHUNK
    for division in (Resampling(), Resampling(folds=((np.arange(2), np.arange(2, 4)),) * 5)):
        assert all(trees % size == 0 for trees in division.rungs for size in sizes)


def test_only_folders_of_killed_processes_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    with make_folder() as folder:
        prefix = Path(folder).name.partition(f"{os.getpid()}-")[0]
    (tmp_path / f"{prefix}{killed.pid}-abc").mkdir()
    # Folders of a living process, of another host that shares the directory, and of no process.
    others = [f"{prefix}1-abc", f"grovekeeper-rows-0123abcd-{killed.pid}-abc", f"{prefix}mine"]
    for name in others:
        (tmp_path / name).mkdir()
    with make_folder() as first, make_folder() as second:
        assert Path(first).parent == tmp_path
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {*others, Path(first).name, Path(second).name}
    assert {path.name for path in tmp_path.iterdir()} == set(others)

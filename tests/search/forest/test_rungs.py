"""Rungs on samples of the rows: which there are, and which rows a sample has."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import make_training_set

from search.forest.resampling import Resampling
from search.forest.rungs import Rung, make_rungs, next_rungs, sample_rows
from search.forest.training_set import PendingMatrix, TrainingSet


def test_small_tables_are_not_sampled() -> None:
    rungs = make_rungs(np.zeros(29_999), 0, Resampling())
    assert rungs == (Rung(16, 29_999, 16), Rung(64, 29_999, 64), Rung(128, 29_999, 128))


@pytest.mark.parametrize("n_rows", [30_000, 200_000])
@pytest.mark.parametrize("n_folds", [0, 5])
def test_large_tables_start_on_a_sample_and_end_on_all_rows(n_rows: int, n_folds: int) -> None:
    half = np.arange(n_rows // 2), np.arange(n_rows // 2, n_rows)
    rungs = make_rungs(np.zeros(n_rows), 0, Resampling(folds=(half,) * n_folds))
    sampled = [rung for rung in rungs if rung.rows < n_rows]
    assert sampled[0].rows == 10_000
    assert all(rung.keep for rung in sampled)
    assert not any(rung.keep for rung in rungs[len(sampled) :])
    assert rungs[-1].rows == n_rows
    assert [rung.step for rung in rungs] == sorted({rung.step for rung in rungs})
    assert all(rung.trees % max(1, n_folds) == 0 for rung in rungs)


def test_the_first_sample_has_enough_rows_of_a_rare_class() -> None:
    y = (np.arange(300_000) % 1000 == 0).astype(int)
    first = make_rungs(y, 2, Resampling())[0]
    assert first.rows == 50_000
    y = (np.arange(300_000) % 10_000 == 0).astype(int)
    assert {rung.rows for rung in make_rungs(y, 2, Resampling())} == {300_000}


def test_a_trial_grows_to_the_rung_where_it_waits() -> None:
    rungs = make_rungs(np.zeros(200_000), 0, Resampling())
    assert [rung.step for rung in next_rungs(rungs, 0)] == [16]
    assert [rung.step for rung in next_rungs(rungs, 16)] == [32]
    assert [rung.step for rung in next_rungs(rungs, 32)] == [48, 64]


@given(st.integers(1, 400), st.integers(0, 3), st.integers(0, 5), st.booleans())
def test_a_sample_has_its_size_all_classes_and_contains_smaller_samples(
    n_sampled: int, n_classes: int, seed: int, grouped: bool
) -> None:
    random = np.random.default_rng(seed)
    y = random.integers(0, n_classes, 400) if n_classes else random.random(400)
    units = np.unique(random.integers(0, 300, 400), return_inverse=True)[1] if grouped else None
    resampling = Resampling(units)
    rows = sample_rows(y, n_classes, resampling, n_sampled)
    assert len(np.unique(rows)) == len(rows)
    assert n_sampled <= len(rows) <= n_sampled + n_classes
    if n_classes and not grouped:
        assert set(y[rows]) == set(y)
    fewer = sample_rows(y, n_classes, resampling, max(1, n_sampled // 2))
    if not grouped:
        assert set(fewer) <= set(rows)


def test_small_units_are_sampled_whole() -> None:
    units = np.arange(3000) // 3
    rows = sample_rows(np.zeros(3000), 0, Resampling(units), 900)
    chosen = np.bincount(units[rows], minlength=1000)
    assert ((chosen == 0) | (chosen == 3)).mean() > 0.99


def test_large_units_are_sampled_in_part_so_that_all_are_represented() -> None:
    units = np.arange(3000) // 300
    rows = sample_rows(np.zeros(3000), 0, Resampling(units), 900)
    assert len(np.unique(units[rows])) == 10


def test_a_sample_keeps_folds_units_weights_and_encodings_together(diabetes: TrainingSet) -> None:
    n_rows = len(diabetes.y)
    folds = tuple(
        (np.flatnonzero(np.arange(n_rows) % 3 != k), np.arange(k, n_rows, 3)) for k in range(3)
    )
    units = np.arange(n_rows) // 2
    weights = np.linspace(0.5, 1.5, n_rows)
    whole = TrainingSet(
        diabetes.X,
        np.arange(n_rows, dtype=float),
        0,
        Resampling(units, folds),
        weights,
        {"target": PendingMatrix(diabetes.X.shape[1], lambda: diabetes.X + 1)},
    )
    part = whole.sample(100)
    rows = part.y.astype(int)
    np.testing.assert_array_equal(part.X, diabetes.X[rows])
    np.testing.assert_array_equal(part.matrix("target"), diabetes.X[rows] + 1)
    assert part.weights is not None
    np.testing.assert_allclose(part.weights, weights[rows] / weights[rows].mean())
    assert part.resampling.units is not None
    assert len(np.unique(part.resampling.units)) == len(np.unique(units[rows]))
    for k, (train, test) in enumerate(part.resampling.folds):
        assert set(rows[test] % 3) == {k}
        assert set(train) | set(test) == set(range(100))
    assert part.chunk == whole.chunk
    assert whole.sample(n_rows) is whole
    assert whole.sample(100) is part


def test_the_sample_of_a_loaded_training_set_is_the_same(diabetes: TrainingSet) -> None:
    again = make_training_set(diabetes.X, diabetes.y)
    np.testing.assert_array_equal(diabetes.sample(50).y, again.sample(50).y)

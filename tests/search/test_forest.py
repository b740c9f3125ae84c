from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes

from search import forest
from search.errors import StudyError
from search.forest import CHUNK, OobSums, enough_trees, grow, score, squared_errors
from search.metrics import METRICS, brier_errors

PARAMS: dict[str, Any] = {"max_features": 0.5, "min_samples_leaf": 3, "max_depth": None}


@pytest.fixture(scope="module")
def diabetes() -> tuple[NDArray[Any], NDArray[Any]]:
    X, y = load_diabetes(return_X_y=True)
    return np.ascontiguousarray(X, dtype=np.float32), y


@pytest.fixture(scope="module")
def cancer() -> tuple[NDArray[Any], NDArray[Any]]:
    X, y = load_breast_cancer(return_X_y=True)
    return np.ascontiguousarray(X, dtype=np.float32), y


def sums_of(votes: list[list[float]], y_size: int) -> OobSums:
    """Sums as if each list were the out-of-bag predictions of one row."""
    assert len(votes) == y_size
    return OobSums(
        np.array([len(v) for v in votes], dtype=float),
        np.array([sum(v) for v in votes], dtype=float),
        np.array([sum(x * x for x in v) for v in votes], dtype=float),
        trees=max(map(len, votes)),
        seconds=0.0,
    )


def test_growing_in_two_tasks_equals_growing_in_one(
    diabetes: tuple[NDArray[Any], NDArray[Any]],
) -> None:
    X, y = diabetes
    at_once = grow(X, y, 0, PARAMS, 7, 3, range(4 * CHUNK))
    first = grow(X, y, 0, PARAMS, 7, 3, range(CHUNK))
    later = grow(X, y, 0, PARAMS, 7, 3, range(CHUNK, 4 * CHUNK), first)
    assert at_once.trees == later.trees == 4 * CHUNK
    np.testing.assert_array_equal(at_once.votes, later.votes)
    np.testing.assert_array_equal(at_once.total, later.total)
    np.testing.assert_array_equal(at_once.squares, later.squares)


def test_seed_trial_and_chunk_each_change_the_trees(
    diabetes: tuple[NDArray[Any], NDArray[Any]],
) -> None:
    X, y = diabetes
    chunks = [(7, 3, 0), (8, 3, 0), (7, 4, 0), (7, 3, 1)]
    totals = [
        grow(X, y, 0, PARAMS, seed, trial, range(CHUNK * chunk, CHUNK * (chunk + 1))).total
        for seed, trial, chunk in chunks
    ]
    for i, one in enumerate(totals):
        for other in totals[i + 1 :]:
            assert not np.array_equal(one, other)


def test_each_row_is_out_of_bag_as_often_as_a_bootstrap_leaves_it_out(
    diabetes: tuple[NDArray[Any], NDArray[Any]],
) -> None:
    X, y = diabetes
    sums = grow(X, y, 0, PARAMS, 0, 0, range(16 * CHUNK))
    assert sums.votes.mean() / sums.trees == pytest.approx((1 - 1 / len(y)) ** len(y), abs=0.01)


def test_out_of_bag_score_agrees_with_scikit_learns(
    diabetes: tuple[NDArray[Any], NDArray[Any]],
) -> None:
    X, y = diabetes
    sums = grow(X, y, 0, PARAMS, 0, 0, range(32 * CHUNK))
    reference = forest.make_forest(PARAMS, 0, 32 * CHUNK, 0)
    reference.set_params(oob_score=True)
    reference.fit(X, y)
    ours = np.sqrt(np.mean((y - sums.mean()) ** 2))
    theirs = np.sqrt(np.mean((y - reference.oob_prediction_) ** 2))
    assert ours == pytest.approx(theirs, rel=0.015)


def test_class_probabilities_add_to_the_votes(
    cancer: tuple[NDArray[Any], NDArray[Any]],
) -> None:
    X, y = cancer
    sums = grow(X, y, 2, PARAMS, 0, 0, range(2 * CHUNK))
    assert sums.total.shape == (len(y), 2)
    np.testing.assert_allclose(sums.total.sum(axis=1), sums.votes)
    assert score(sums, y, METRICS["accuracy"]) > 0.9


def test_missing_values_are_grown_on(diabetes: tuple[NDArray[Any], NDArray[Any]]) -> None:
    X, y = diabetes
    holes = X.copy()
    holes[::5, 2] = np.nan
    sums = grow(holes, y, 0, PARAMS, 0, 0, range(CHUNK))
    assert np.isfinite(score(sums, y, METRICS["rmse"]))


def test_infinite_forest_estimate_does_not_drift_with_the_number_of_trees(
    diabetes: tuple[NDArray[Any], NDArray[Any]],
) -> None:
    """The plain out-of-bag error of 16 trees is far above that of 512; the estimate is not."""
    X, y = diabetes
    mse = METRICS["mse"]
    small = [grow(X, y, 0, PARAMS, seed, 0, range(CHUNK)) for seed in range(24)]
    large = grow(X, y, 0, PARAMS, 99, 0, range(32 * CHUNK))
    seen = [s.votes >= 2 for s in small]
    plain = np.mean([np.mean((y - s.mean())[k] ** 2) for s, k in zip(small, seen, strict=True)])
    estimate = np.mean([score(s, y, mse) for s in small])
    reference = score(large, y, mse)
    assert plain > 1.08 * reference
    assert estimate == pytest.approx(reference, rel=0.02)


@given(
    st.lists(st.floats(-100, 100), min_size=2, max_size=12),
    st.floats(-100, 100),
)
def test_estimate_of_a_row_is_its_error_less_the_variance_of_its_mean(
    votes: list[float], truth: float
) -> None:
    sums = sums_of([votes], 1)
    expected = (truth - np.mean(votes)) ** 2 - np.var(votes, ddof=1) / len(votes)
    np.testing.assert_allclose(squared_errors(sums, np.array([truth])), [expected], atol=1e-6)


@given(
    st.lists(st.lists(st.floats(-9, 9), min_size=0, max_size=5), min_size=2, max_size=2),
    st.lists(st.lists(st.floats(-9, 9), min_size=0, max_size=5), min_size=2, max_size=2),
)
def test_sums_of_chunks_add_like_their_votes(
    one: list[list[float]], other: list[list[float]]
) -> None:
    both = [a + b for a, b in zip(one, other, strict=True)]
    added, at_once = sums_of(one, 2) + sums_of(other, 2), sums_of(both, 2)
    np.testing.assert_allclose(added.votes, at_once.votes)
    np.testing.assert_allclose(added.total, at_once.total, atol=1e-9)
    np.testing.assert_allclose(added.squares, at_once.squares, atol=1e-9)


@settings(max_examples=50)
@given(st.integers(2, 5), st.integers(2, 9), st.integers(0, 2**32 - 1))
def test_brier_estimate_of_classes_sums_over_the_classes(
    n_classes: int, n_votes: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    votes = random.dirichlet(np.ones(n_classes), n_votes)
    sums = OobSums(
        np.array([float(n_votes)]), votes.sum(axis=0)[None], np.array([(votes**2).sum()]), 1, 0.0
    )
    y = np.array([int(random.integers(n_classes))])
    mean = votes.mean(axis=0)[None]
    expected = brier_errors(y, mean) - votes.var(axis=0, ddof=1).sum() / n_votes
    np.testing.assert_allclose(squared_errors(sums, y), expected, atol=1e-9)


def test_rows_with_fewer_than_two_votes_do_not_count() -> None:
    sums = sums_of([[1.0, 1.0], [50.0], []], 3)
    y = np.array([3.0, 0.0, 0.0])
    assert score(sums, y, METRICS["mse"]) == pytest.approx(4.0)
    assert score(sums, y, METRICS["mae"]) == pytest.approx(2.0)


def test_a_score_without_votes_is_an_error_that_says_how_many_rows_count() -> None:
    with pytest.raises(StudyError, match="0 of 1 rows"):
        score(sums_of([[1.0]], 1), np.array([1.0]), METRICS["rmse"])


def test_champion_is_as_large_as_its_variance_asks_within_bounds() -> None:
    y = np.zeros(1)
    wide = sums_of([[10.0, -10.0, 9.0, -9.0, 12.0]], 1)
    assert enough_trees(wide, y) == 1000
    narrow = sums_of([[10.0, 10.1, 9.9]], 1)
    assert enough_trees(narrow, y) == 100


def test_grown_chunks_do_not_depend_on_the_champions_seed() -> None:
    seeds = {forest.seed_of(0, trial, chunk) for trial in range(50) for chunk in range(16)}
    assert len(seeds) == 800
    assert forest.champion_seed(0) not in seeds

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import PARAMS, grown, resampled, rows_of, sums_of
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss

from search.errors import StudyError
from search.forest.metrics import METRICS
from search.forest.oob import (
    OobSums,
    coverage,
    enough_trees,
    evaluate_rung,
    infinite_forest_error,
    jackknife,
    score,
    squared_errors,
)
from search.forest.scorers import brier_errors
from search.forest.training_set import TrainingSet

Array = NDArray[Any]
BLOCKS = 20


def without_votes(n_rows: int) -> OobSums:
    return OobSums(np.zeros(n_rows), np.zeros(n_rows), np.zeros(n_rows), 1, 0.0)


def targets(*y: float) -> TrainingSet:
    return rows_of(np.zeros((len(y), 1)), np.array(y))


def random_sums(seed: int, n_rows: int, n_classes: int = 0) -> OobSums:
    """Sums of six random votes a row: values, or probabilities."""
    random = np.random.default_rng(seed)
    if n_classes:
        votes = random.dirichlet(np.ones(n_classes), (6, n_rows))
        squares = (votes**2).sum(axis=(0, 2))
    else:
        votes = random.normal(size=(6, n_rows))
        squares = (votes**2).sum(axis=0)
    return OobSums(np.full(n_rows, 6.0), votes.sum(axis=0), squares, 6, 0.0)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12), st.floats(-100, 100))
def test_estimate_of_a_row_is_its_error_less_the_variance_of_its_mean(
    votes: list[float], truth: float
) -> None:
    expected = (truth - np.mean(votes)) ** 2 - np.var(votes, ddof=1) / len(votes)
    errors = squared_errors(sums_of([votes]), np.array([truth]))
    np.testing.assert_allclose(errors, [expected], atol=1e-6)


@given(
    st.lists(st.lists(st.floats(-9, 9), min_size=0, max_size=5), min_size=2, max_size=2),
    st.lists(st.lists(st.floats(-9, 9), min_size=0, max_size=5), min_size=2, max_size=2),
)
def test_sums_of_chunks_add_like_their_votes(
    one: list[list[float]], other: list[list[float]]
) -> None:
    both = [a + b for a, b in zip(one, other, strict=True)]
    added, at_once = sums_of(one) + sums_of(other), sums_of(both)
    np.testing.assert_allclose(added.votes, at_once.votes)
    np.testing.assert_allclose(added.total, at_once.total, atol=1e-9)
    np.testing.assert_allclose(added.squares, at_once.squares, atol=1e-9)


@settings(max_examples=50)
@given(st.integers(2, 5), st.integers(2, 9), st.integers(0, 2**32 - 1))
def test_brier_estimate_of_classes_sums_over_the_classes(
    n_classes: int, n_votes: int, seed: int
) -> None:
    """And is halved for two classes, as scikit-learn has it."""
    random = np.random.default_rng(seed)
    votes = random.dirichlet(np.ones(n_classes), n_votes)
    sums = OobSums(
        np.array([float(n_votes)]), votes.sum(axis=0)[None], np.array([(votes**2).sum()]), 1, 0.0
    )
    y = np.array([int(random.integers(n_classes))])
    mean = votes.mean(axis=0)[None]
    scale = 0.5 if n_classes == 2 else 1.0
    expected = brier_errors(y, mean) - scale * votes.var(axis=0, ddof=1).sum() / n_votes
    np.testing.assert_allclose(squared_errors(sums, y), expected, atol=1e-9)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_where_trees_agree_the_brier_score_is_scikit_learns(n_classes: int) -> None:
    random = np.random.default_rng(0)
    p = random.dirichlet(np.ones(n_classes), 60)
    y = random.permutation(np.arange(60) % n_classes)
    weights = random.uniform(0.5, 2.0, 60)
    sums = OobSums(np.full(60, 4.0), 4 * p, 4 * (p**2).sum(axis=1), 4, 0.0)
    rows = rows_of(np.zeros((60, 1)), y, n_classes, weights)
    expected = brier_score_loss(y, p[:, 1] if n_classes == 2 else p, sample_weight=weights)
    assert score(sums, rows, METRICS["brier"]) == pytest.approx(expected)


def test_infinite_forest_estimate_does_not_drift_with_the_number_of_trees(
    diabetes: TrainingSet,
) -> None:
    """The plain out-of-bag error of 16 trees is far above that of 512; the estimate is not."""
    mse, y = METRICS["mse"], diabetes.y
    small = [grown(diabetes, PARAMS, 16, seed) for seed in range(24)]
    large = grown(diabetes, PARAMS, 512, 99)
    plain = np.mean([np.mean((y - s.mean())[s.scorable] ** 2) for s in small])
    estimate = np.mean([score(s, diabetes, mse) for s in small])
    reference = score(large, diabetes, mse)
    assert plain > 1.08 * reference
    assert estimate == pytest.approx(reference, rel=0.02)


def test_rows_with_fewer_than_two_votes_do_not_count() -> None:
    sums = sums_of([[1.0, 1.0], [50.0], []])
    rows = targets(3.0, 0.0, 0.0)
    assert list(sums.scorable) == [True, False, False]
    assert score(sums, rows, METRICS["mae"]) == 2.0
    assert score(sums, rows, METRICS["mse"]) == 4.0
    with pytest.raises(StudyError, match="0 of 1 rows"):
        score(sums_of([[1.0]]), targets(1.0), METRICS["rmse"])


def test_rows_count_by_their_weights() -> None:
    rows = rows_of(np.zeros((2, 1)), np.array([1.0, 2.0]), weights=np.array([3.0, 1.0]))
    sums = sums_of([[0.0, 0.0], [0.0, 0.0]])
    assert score(sums, rows, METRICS["mae"]) == pytest.approx((3 * 1 + 1 * 2) / 4)
    assert score(sums, rows, METRICS["mse"]) == pytest.approx((3 * 1 + 1 * 4) / 4)
    infinite, between = infinite_forest_error(sums, rows.y, rows.weights)
    assert infinite == pytest.approx((3 * 1 + 1 * 4) / 4)
    assert between == 0.0


@given(
    st.sampled_from(["mse", "mae", "brier", "accuracy"]),
    st.integers(0, 10_000),
    st.integers(1, 6),
)
def test_of_a_score_that_is_a_mean_over_rows_the_pseudo_values_are_the_blocks_means(
    name: str, seed: int, rows_in_a_block: int
) -> None:
    metric, n_rows = METRICS[name], BLOCKS * rows_in_a_block
    n_classes = 0 if metric.task == "regression" else 3
    random = np.random.default_rng(seed)
    y = random.integers(0, 3, n_rows) if n_classes else random.normal(size=n_rows)
    rows, sums = rows_of(np.zeros((n_rows, 1)), y, n_classes), random_sums(seed, n_rows, n_classes)
    if metric.from_squared_errors is not None:
        each = squared_errors(sums, y)
    elif name == "mae":
        each = np.abs(y - sums.mean())
    else:
        each = (sums.mean().argmax(axis=1) == y).astype(float)
    pseudo = jackknife(sums, rows, metric)
    expected = [each[rows.blocks == k].mean() for k in range(BLOCKS)]
    np.testing.assert_allclose(pseudo, expected, atol=1e-9)
    assert np.mean(pseudo) == pytest.approx(score(sums, rows, metric))


@pytest.mark.parametrize("name", ["rmse", "r2", "roc_auc", "log_loss", "balanced_accuracy"])
def test_of_any_other_score_they_have_about_its_mean_and_its_error(name: str) -> None:
    """The standard error from the blocks is about what it is over new draws of the rows."""
    metric, n_rows = METRICS[name], 400
    n_classes = 0 if metric.task == "regression" else 2

    def draw(seed: int) -> tuple[float, tuple[float, ...]]:
        random = np.random.default_rng(seed)
        y: Array
        if n_classes:
            y = random.integers(0, 2, n_rows)
            p = np.clip(0.3 + 0.4 * y + random.normal(0, 0.2, n_rows), 0.01, 0.99)
            values = np.stack([1 - p, p], axis=1)
            squares = (values**2).sum(axis=1)
        else:
            y = random.normal(size=n_rows)
            values = y + random.normal(0, 0.5, n_rows)
            squares = values**2
        sums = OobSums(np.full(n_rows, 4.0), 4 * values, 4 * squares, 4, 0.0)
        rows = rows_of(np.zeros((n_rows, 1)), y, n_classes)
        return score(sums, rows, metric), jackknife(sums, rows, metric)

    drawn = [draw(seed) for seed in range(60)]
    scores = [value for value, _ in drawn]
    errors = [np.std(blocks, ddof=1) / np.sqrt(len(blocks)) for _, blocks in drawn]
    assert np.mean(errors) == pytest.approx(np.std(scores, ddof=1), rel=0.25)
    for value, blocks in drawn:
        assert np.mean(blocks) == pytest.approx(value, abs=0.25 * float(np.std(scores)))


def test_a_block_without_which_there_is_no_score_is_not_a_number() -> None:
    """Of twenty rows, one each, the only two of a class are needed for the area under a curve."""
    y = np.zeros(BLOCKS, dtype=int)
    y[7] = 1
    rows, sums = rows_of(np.zeros((BLOCKS, 1)), y, 2), random_sums(0, BLOCKS, 2)
    pseudo = np.array(jackknife(sums, rows, METRICS["roc_auc"]))
    assert np.isnan(pseudo[rows.blocks[7]])
    assert np.isfinite(np.delete(pseudo, rows.blocks[7])).all()


def test_how_many_trees_are_enough_follows_from_how_much_they_differ() -> None:
    y = np.zeros(1)
    wide = sums_of([[10.0, -10.0, 9.0, -9.0, 12.0]])
    narrow = sums_of([[10.0, 10.1, 9.9]])
    alike = sums_of([[10.0, 10.0, 10.0]])
    assert enough_trees(wide, y) > 1000
    assert enough_trees(narrow, y) < 10
    assert enough_trees(alike, y) == 1
    assert enough_trees(sums_of([[0.0, 0.0, 0.0]]), y) == 1


def test_a_forest_of_enough_trees_is_within_half_a_percent_of_the_infinite_ones_error(
    diabetes: TrainingSet,
) -> None:
    sums = grown(diabetes, PARAMS, 512)
    trees = enough_trees(sums, diabetes.y)
    infinite, between = infinite_forest_error(sums, diabetes.y)
    assert between / trees <= 0.005 * infinite < between / (trees - 1)
    plain = np.mean((diabetes.y - sums.mean()) ** 2)
    votes = sums.votes.mean()
    assert plain == pytest.approx(infinite + between / votes, rel=0.001)


def test_coverage_is_the_least_share_of_all_rows_and_of_each_class_that_has_votes() -> None:
    votes = np.array([2.0, 2, 2, 1, 5, 0])
    y = np.array([0, 0, 0, 0, 1, 1])
    sums = OobSums(votes, np.zeros((6, 2)), np.zeros(6), 5, 0.0)
    assert coverage(sums, rows_of(np.zeros((6, 1)), y, 2)) == 0.5
    values = OobSums(votes, np.zeros(6), np.zeros(6), 5, 0.0)
    assert coverage(values, targets(*y)) == pytest.approx(4 / 6)


def test_rows_that_no_fold_tests_do_not_lessen_the_coverage(diabetes: TrainingSet) -> None:
    """As the earliest rows of a time series, on which only trees grow."""
    early, late = np.arange(100), np.arange(100, len(diabetes.y))
    rows = resampled(diabetes, folds=((early, late[:150]), (np.arange(250), late[150:])))
    sums = grown(rows, PARAMS, 32)
    assert not sums.votes[early].any()
    assert coverage(sums, rows) == 1.0
    assert np.isfinite(score(sums, rows, METRICS["rmse"]))


def test_an_outcome_says_what_its_sums_do(cancer: TrainingSet) -> None:
    sums = grown(cancer, PARAMS, 32)
    found = evaluate_rung(sums, cancer, "log_loss", {})
    assert found.score == score(sums, cancer, METRICS["log_loss"])
    assert found.guide_score == score(sums, cancer, METRICS["brier"])
    assert found.pseudo_values == jackknife(sums, cancer, METRICS["brier"])
    assert (found.trees, found.seconds) == (32, sums.seconds)
    assert found.enough_trees == enough_trees(sums, cancer.y)
    assert found.coverage == coverage(sums, cancer)
    assert not found.behind


def test_an_outcome_is_behind_a_rival_that_is_better_at_as_many_trees(cancer: TrainingSet) -> None:
    better = grown(cancer, PARAMS, 32)
    worse = grown(cancer, PARAMS | {"max_depth": 1}, 32)
    blocks = evaluate_rung(better, cancer, "accuracy", {}).pseudo_values
    assert evaluate_rung(worse, cancer, "accuracy", {32: blocks}).behind
    assert not evaluate_rung(worse, cancer, "accuracy", {64: blocks}).behind
    assert not evaluate_rung(better, cancer, "accuracy", {32: blocks}).behind

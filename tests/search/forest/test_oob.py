from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import PARAMS, grown, make_training_set, resampled, sums_of
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
    return make_training_set(np.zeros((len(y), 1)), np.array(y))


def random_sums(seed: int, n_rows: int, n_classes: int = 0) -> OobSums:
    """Return the sums of six random votes per row: values, or probabilities."""
    random = np.random.default_rng(seed)
    if n_classes:
        votes = random.dirichlet(np.ones(n_classes), (6, n_rows))
        squares = (votes**2).sum(axis=(0, 2))
    else:
        votes = random.normal(size=(6, n_rows))
        squares = (votes**2).sum(axis=0)
    return OobSums(np.full(n_rows, 6.0), votes.sum(axis=0), squares, 6, 0.0)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12), st.floats(-100, 100))
def test_estimate_of_a_row_is_its_error_minus_the_variance_of_its_mean(
    votes: list[float], truth: float
) -> None:
    expected = (truth - np.mean(votes)) ** 2 - np.var(votes, ddof=1) / len(votes)
    errors = squared_errors(sums_of([votes]), np.array([truth]))
    np.testing.assert_allclose(errors, [expected], atol=1e-6)


@given(
    st.lists(st.lists(st.floats(-9, 9), min_size=0, max_size=5), min_size=2, max_size=2),
    st.lists(st.lists(st.floats(-9, 9), min_size=0, max_size=5), min_size=2, max_size=2),
)
def test_adding_sums_equals_summing_all_votes(
    one: list[list[float]], other: list[list[float]]
) -> None:
    both = [a + b for a, b in zip(one, other, strict=True)]
    added, at_once = sums_of(one) + sums_of(other), sums_of(both)
    np.testing.assert_allclose(added.votes, at_once.votes)
    np.testing.assert_allclose(added.total, at_once.total, atol=1e-9)
    np.testing.assert_allclose(added.squares, at_once.squares, atol=1e-9)


@settings(max_examples=50)
@given(st.integers(2, 5), st.integers(2, 9), st.integers(0, 2**32 - 1))
def test_brier_estimate_sums_over_the_classes(n_classes: int, n_votes: int, seed: int) -> None:
    """For two classes it is halved, as in scikit-learn."""
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
def test_brier_score_of_identical_trees_equals_scikit_learns(n_classes: int) -> None:
    random = np.random.default_rng(0)
    p = random.dirichlet(np.ones(n_classes), 60)
    y = random.permutation(np.arange(60) % n_classes)
    weights = random.uniform(0.5, 2.0, 60)
    sums = OobSums(np.full(60, 4.0), 4 * p, 4 * (p**2).sum(axis=1), 4, 0.0)
    rows = make_training_set(np.zeros((60, 1)), y, n_classes, weights)
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


def test_rows_with_fewer_than_two_votes_are_not_scored() -> None:
    sums = sums_of([[1.0, 1.0], [50.0], []])
    rows = targets(3.0, 0.0, 0.0)
    assert list(sums.scorable) == [True, False, False]
    assert score(sums, rows, METRICS["mae"]) == 2.0
    assert score(sums, rows, METRICS["mse"]) == 4.0
    with pytest.raises(StudyError, match="0 of 1 rows"):
        score(sums_of([[1.0]]), targets(1.0), METRICS["rmse"])


def test_scores_use_row_weights() -> None:
    rows = make_training_set(np.zeros((2, 1)), np.array([1.0, 2.0]), weights=np.array([3.0, 1.0]))
    sums = sums_of([[0.0, 0.0], [0.0, 0.0]])
    assert score(sums, rows, METRICS["mae"]) == pytest.approx((3 * 1 + 1 * 2) / 4)
    assert score(sums, rows, METRICS["mse"]) == pytest.approx((3 * 1 + 1 * 4) / 4)
    error, variance = infinite_forest_error(sums, rows.y, rows.weights)
    assert error == pytest.approx((3 * 1 + 1 * 4) / 4)
    assert variance == 0.0


@given(
    st.sampled_from(["mse", "mae", "brier", "accuracy"]),
    st.integers(0, 10_000),
    st.integers(1, 6),
)
def test_pseudo_values_of_a_mean_over_rows_are_the_means_of_the_blocks(
    name: str, seed: int, rows_in_a_block: int
) -> None:
    metric, n_rows = METRICS[name], BLOCKS * rows_in_a_block
    n_classes = 0 if metric.task == "regression" else 3
    random = np.random.default_rng(seed)
    y = random.integers(0, 3, n_rows) if n_classes else random.normal(size=n_rows)
    rows, sums = (
        make_training_set(np.zeros((n_rows, 1)), y, n_classes),
        random_sums(seed, n_rows, n_classes),
    )
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
def test_pseudo_values_of_other_scores_estimate_the_score_and_its_standard_error(name: str) -> None:
    """The standard error from the blocks is close to the one over new samples of rows."""
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
        rows = make_training_set(np.zeros((n_rows, 1)), y, n_classes)
        return score(sums, rows, metric), jackknife(sums, rows, metric)

    drawn = [draw(seed) for seed in range(60)]
    scores = [value for value, _ in drawn]
    errors = [np.std(blocks, ddof=1) / np.sqrt(len(blocks)) for _, blocks in drawn]
    assert np.mean(errors) == pytest.approx(np.std(scores, ddof=1), rel=0.25)
    for value, blocks in drawn:
        assert np.mean(blocks) == pytest.approx(value, abs=0.25 * float(np.std(scores)))


def test_pseudo_value_is_nan_if_the_other_blocks_have_no_score() -> None:
    """Each block has one row; without the only row of class 1 there is no area under the curve."""
    y = np.zeros(BLOCKS, dtype=int)
    y[7] = 1
    rows, sums = make_training_set(np.zeros((BLOCKS, 1)), y, 2), random_sums(0, BLOCKS, 2)
    pseudo = np.array(jackknife(sums, rows, METRICS["roc_auc"]))
    assert np.isnan(pseudo[rows.blocks[7]])
    assert np.isfinite(np.delete(pseudo, rows.blocks[7])).all()


def test_enough_trees_grows_with_the_variance_between_trees() -> None:
    y = np.zeros(1)
    wide = sums_of([[10.0, -10.0, 9.0, -9.0, 12.0]])
    narrow = sums_of([[10.0, 10.1, 9.9]])
    alike = sums_of([[10.0, 10.0, 10.0]])
    assert enough_trees(wide, y) > 1000
    assert enough_trees(narrow, y) < 10
    assert enough_trees(alike, y) == 1
    assert enough_trees(sums_of([[0.0, 0.0, 0.0]]), y) == 1


def test_enough_trees_are_within_half_a_percent_of_the_infinite_forests_error(
    diabetes: TrainingSet,
) -> None:
    sums = grown(diabetes, PARAMS, 512)
    trees = enough_trees(sums, diabetes.y)
    error, variance = infinite_forest_error(sums, diabetes.y)
    assert variance / trees <= 0.005 * error < variance / (trees - 1)
    plain = np.mean((diabetes.y - sums.mean()) ** 2)
    votes = sums.votes.mean()
    assert plain == pytest.approx(error + variance / votes, rel=0.001)


def test_coverage_is_the_smallest_share_of_rows_with_votes_over_all_rows_and_classes() -> None:
    votes = np.array([2.0, 2, 2, 1, 5, 0])
    y = np.array([0, 0, 0, 0, 1, 1])
    sums = OobSums(votes, np.zeros((6, 2)), np.zeros(6), 5, 0.0)
    assert coverage(sums, make_training_set(np.zeros((6, 1)), y, 2)) == 0.5
    values = OobSums(votes, np.zeros(6), np.zeros(6), 5, 0.0)
    assert coverage(values, targets(*y)) == pytest.approx(4 / 6)


def test_rows_that_no_fold_tests_do_not_reduce_the_coverage(diabetes: TrainingSet) -> None:
    """For example the earliest rows of a time series, which are used for training only."""
    early, late = np.arange(100), np.arange(100, len(diabetes.y))
    rows = resampled(diabetes, folds=((early, late[:150]), (np.arange(250), late[150:])))
    sums = grown(rows, PARAMS, 32)
    assert not sums.votes[early].any()
    assert coverage(sums, rows) == 1.0
    assert np.isfinite(score(sums, rows, METRICS["rmse"]))


def test_a_rung_result_holds_the_statistics_of_its_sums(cancer: TrainingSet) -> None:
    sums = grown(cancer, PARAMS, 32)
    result = evaluate_rung(sums, cancer, "log_loss", {})
    assert result.score == score(sums, cancer, METRICS["log_loss"])
    assert result.guide_score == score(sums, cancer, METRICS["brier"])
    assert result.pseudo_values == jackknife(sums, cancer, METRICS["brier"])
    assert (result.trees, result.seconds) == (32, sums.seconds)
    assert result.enough_trees == enough_trees(sums, cancer.y)
    assert result.coverage == coverage(sums, cancer)
    assert not result.behind


def test_a_trial_is_behind_an_incumbent_that_is_better_at_the_same_number_of_trees(
    cancer: TrainingSet,
) -> None:
    better = grown(cancer, PARAMS, 32)
    worse = grown(cancer, PARAMS | {"max_depth": 1}, 32)
    reference = evaluate_rung(better, cancer, "accuracy", {}).pseudo_values
    assert evaluate_rung(worse, cancer, "accuracy", {32: reference}).behind
    assert not evaluate_rung(worse, cancer, "accuracy", {64: reference}).behind
    assert not evaluate_rung(better, cancer, "accuracy", {32: reference}).behind

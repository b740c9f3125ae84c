from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import PARAMS, assert_same, grown, make_training_set, resampled
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_sample_weight

from search.forest import growing
from search.forest.fitting import champion_seed, make_forest
from search.forest.growing import derive_seed, grow
from search.forest.metrics import METRICS
from search.forest.oob import score
from search.forest.training_set import TrainingSet, load_training_set

Array = NDArray[Any]
KINDS = ("best", "random")


def make_rare_class(n_rows: int = 600, seed: int = 0) -> TrainingSet:
    """Return two overlapping classes; one row in eight belongs to the second."""
    random = np.random.default_rng(seed)
    y = (np.arange(n_rows) % 8 == 0).astype(int)
    X = random.normal(size=(n_rows, 5))
    X[:, 0] += y
    return make_training_set(X, y, 2)


@pytest.mark.parametrize("splitter", KINDS)
def test_chunks_grown_in_two_calls_equal_chunks_grown_in_one(
    diabetes: TrainingSet, splitter: str
) -> None:
    params = PARAMS | {"splitter": splitter}
    at_once = list(grow(diabetes, params, 7, 3, range(4)))
    again = [*grow(diabetes, params, 7, 3, range(1)), *grow(diabetes, params, 7, 3, range(1, 4))]
    for one, other in zip(at_once, again, strict=True):
        assert_same(one, other)
    assert reduce(add, at_once).trees == 4 * diabetes.chunk


def test_seed_place_and_chunk_each_change_the_trees(diabetes: TrainingSet) -> None:
    places = [(7, 3, 0), (8, 3, 0), (7, 4, 0), (7, 3, 1)]
    totals = [
        next(iter(grow(diabetes, PARAMS, seed, place, [chunk]))).total
        for seed, place, chunk in places
    ]
    for i, one in enumerate(totals):
        for other in totals[i + 1 :]:
            assert not np.array_equal(one, other)


def test_no_chunk_has_the_champions_seed() -> None:
    seeds = {derive_seed(0, trial, chunk) for trial in range(50) for chunk in range(16)}
    assert len(seeds) == 800
    assert champion_seed(0) not in seeds


def sklearn_oob_prediction(
    rows: TrainingSet, params: dict[str, Any], trees: int, weights: Array | None
) -> Array:
    """Return the out-of-bag predictions of scikit-learn's own forest."""
    reference = make_forest(params, rows.n_classes, trees, 0)
    reference.set_params(oob_score=True)
    reference.fit(rows.X, rows.y, sample_weight=weights)
    if rows.n_classes:
        return np.asarray(reference.oob_decision_function_)
    return np.asarray(reference.oob_prediction_)


def test_nodes_are_as_many_as_in_scikit_learns_forest(
    diabetes: TrainingSet, cancer: TrainingSet
) -> None:
    for rows in (diabetes, cancer):
        forest = make_forest(PARAMS, rows.n_classes, 64, 0).fit(rows.X, rows.y)
        expected = sum(tree.tree_.node_count for tree in forest.estimators_)
        assert grown(rows, PARAMS, 64).nodes == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("splitter", KINDS)
@pytest.mark.parametrize("samples", [pytest.param(1.0, marks=pytest.mark.slow), 0.4])
def test_out_of_bag_score_agrees_with_scikit_learns(
    diabetes: TrainingSet, splitter: str, samples: float
) -> None:
    params = PARAMS | {"splitter": splitter, "max_samples": samples}
    ours = grown(diabetes, params, 256).mean()
    theirs = sklearn_oob_prediction(diabetes, params, 256, None)
    error, expected = (np.sqrt(np.mean((diabetes.y - p) ** 2)) for p in (ours, theirs))
    assert error == pytest.approx(expected, rel=0.025)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.97


@pytest.mark.slow
@pytest.mark.parametrize("splitter", KINDS)
@pytest.mark.parametrize("class_weight", [None, "balanced_subsample"])
def test_class_and_row_weights_have_the_effect_they_have_in_scikit_learn(
    splitter: str, class_weight: str | None
) -> None:
    plain, params = (
        make_rare_class(400),
        PARAMS | {"splitter": splitter, "class_weight": class_weight},
    )
    rows = make_training_set(plain.X, plain.y, 2, np.where(plain.y == 1, 1.6, 0.8))
    ours = grown(rows, params, 256).mean()[:, 1]
    theirs = sklearn_oob_prediction(rows, params, 256, rows.weights)[:, 1]
    assert ours.mean() == pytest.approx(theirs.mean(), abs=0.01)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.9
    assert np.abs(ours - theirs).mean() < 0.05
    if class_weight is None:  # balancing would cancel the effect of the row weights
        assert ours.mean() > 1.3 * grown(plain, params, 256).mean()[:, 1].mean()


def test_balanced_subsample_raises_the_probability_of_the_rare_class() -> None:
    rows, plain = make_rare_class(), PARAMS | {"min_samples_leaf": 10}
    lifted = grown(rows, plain | {"class_weight": "balanced_subsample"}, 160).mean()[:, 1]
    assert lifted.mean() > 2 * grown(rows, plain, 160).mean()[:, 1].mean()
    assert lifted.mean() == pytest.approx(0.4, abs=0.15)


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(5, 60))
def test_balanced_subsample_weights_equal_scikit_learns(
    seed: int, n_classes: int, n_rows: int
) -> None:
    random = np.random.RandomState(seed)
    y = random.randint(0, n_classes, n_rows)
    drawn = random.randint(0, n_rows, n_rows)
    counts = np.bincount(drawn, minlength=n_rows)
    expected = compute_sample_weight("balanced", y, indices=drawn) * counts
    np.testing.assert_allclose(growing._balance(counts, y, n_classes), expected)


def test_splitters_grow_different_trees_from_the_same_rows(diabetes: TrainingSet) -> None:
    best, random = (grown(diabetes, PARAMS | {"splitter": kind}, 64) for kind in KINDS)
    np.testing.assert_array_equal(best.votes > 0, random.votes > 0)
    assert not np.array_equal(best.total, random.total)


@pytest.mark.parametrize("samples", [0.2, 0.5])
def test_max_samples_is_the_fraction_of_rows_that_a_tree_draws(
    diabetes: TrainingSet, samples: float
) -> None:
    sums, n = grown(diabetes, PARAMS | {"max_samples": samples}, 320), len(diabetes.y)
    expected = (1 - 1 / n) ** int(samples * n)
    assert sums.votes.mean() / sums.trees == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("splitter", KINDS)
def test_class_probabilities_sum_to_the_number_of_votes(cancer: TrainingSet, splitter: str) -> None:
    sums = grown(cancer, PARAMS | {"splitter": splitter}, 32)
    assert sums.total.shape == (len(cancer.y), 2)
    np.testing.assert_allclose(sums.total.sum(axis=1), sums.votes)
    assert (sums.squares <= sums.votes + 1e-9).all()
    assert score(sums, cancer, METRICS["accuracy"]) > 0.9


@pytest.mark.parametrize("splitter", KINDS)
@pytest.mark.parametrize("n_classes", [0, 2])
def test_trees_split_on_missing_values_and_predict_with_them(
    tmp_path: Path, splitter: str, n_classes: int
) -> None:
    """Missingness of one feature determines the class. The rows are loaded as workers load them."""
    random = np.random.default_rng(0)
    X = random.normal(size=(300, 3))
    y = (random.random(300) < 0.5).astype(int)
    X[y == 1, 1] = np.nan
    make_training_set(X, y if n_classes else y.astype(float), n_classes).save(tmp_path)
    rows, params = load_training_set(tmp_path), PARAMS | {"splitter": splitter, "max_features": 1.0}
    assert score(grown(rows, params, 32), rows, METRICS["brier" if n_classes else "mse"]) < 0.05


def test_a_training_set_mapped_from_a_file_grows_the_same_trees(
    few: TrainingSet, tmp_path: Path
) -> None:
    few.save(tmp_path)
    assert_same(grown(load_training_set(tmp_path), PARAMS, 16), grown(few, PARAMS, 16))


def test_with_folds_a_tree_never_votes_on_a_row_of_its_training_rows(
    diabetes: TrainingSet,
) -> None:
    """The targets are noise: only a tree that was trained on a row could predict its target."""
    random = np.random.default_rng(0)
    noise = make_training_set(random.normal(size=(200, 3)), random.normal(size=200))
    halves = np.arange(200) % 2 == 0
    folds = ((np.flatnonzero(halves), np.flatnonzero(~halves)),)
    rows = resampled(noise, folds=folds)
    sums = grown(rows, {"max_features": 1.0, "min_samples_leaf": 1}, 64)
    assert not sums.votes[halves].any()
    assert set(sums.votes[~halves]) == {64}
    correlation = np.corrcoef(sums.mean()[~halves], noise.y[~halves])[0, 1]
    assert abs(correlation) < 0.3


def test_every_criterion_is_supported(diabetes: TrainingSet, cancer: TrainingSet) -> None:
    for criterion in ("squared_error", "absolute_error", "poisson"):
        sums = grown(diabetes, PARAMS | {"criterion": criterion, "max_samples": 0.2}, 16)
        assert score(sums, diabetes, METRICS["rmse"]) < diabetes.y.std()
    for criterion in ("gini", "entropy"):
        sums = grown(cancer, PARAMS | {"criterion": criterion}, 16)
        assert score(sums, cancer, METRICS["accuracy"]) > 0.9

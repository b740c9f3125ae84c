"""Forests that are grown in parts."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

from search.forest.fitting import assemble, divide, fit_forest, grow_part, grow_parts, make_forest
from search.forest.training_set import TrainingSet
from search.model.fingerprint import fingerprint

N_ROWS, SEED = 60, 5


def make_training_set(n_classes: int, *, weighted: bool, missing: bool) -> TrainingSet:
    random = np.random.default_rng(0)
    X = random.normal(size=(N_ROWS, 3)).astype(np.float32)
    y: Any = X[:, 0] + random.normal(size=N_ROWS)
    if n_classes:
        y = np.digitize(y, np.quantile(y, np.arange(1, n_classes) / n_classes))
    if missing:
        X[random.random(X.shape) < 0.1] = np.nan
    weights = random.uniform(0.5, 1.5, N_ROWS) if weighted else None
    return TrainingSet(X, y, n_classes, weights=weights)


@pytest.mark.parametrize("n_classes", [0, pytest.param(2, marks=pytest.mark.slow), 3])
@settings(max_examples=20)
@given(data=st.data())
def test_a_forest_grown_in_parts_equals_one_that_is_fitted_at_once(
    n_classes: int, data: st.DataObject
) -> None:
    params = {
        "splitter": data.draw(st.sampled_from(["best", "random"])),
        "max_samples": data.draw(st.sampled_from([None, 0.01, 0.6])),
        "max_features": 0.5,
        "encoding": "ordinal",
    }
    if n_classes:
        params["class_weight"] = data.draw(st.sampled_from([None, "balanced_subsample"]))
    rows = make_training_set(
        n_classes, weighted=data.draw(st.booleans()), missing=data.draw(st.booleans())
    )
    # Parts are grown on class indices, as on workers, and the forest predicts labels.
    labels = np.array(["a", "b", "c"])[rows.y] if n_classes else rows.y
    trees = data.draw(st.integers(1, 12))
    whole = make_forest(params, n_classes, trees, SEED)
    whole = fit_forest(whole, rows.X, labels, rows.weights)
    ends = sorted({*data.draw(st.sets(st.integers(1, trees))), trees})
    numbers = [range(first, last) for first, last in zip([0, *ends], ends, strict=False)]
    parts = [grow_part(rows, params, SEED, part) for part in data.draw(st.permutations(numbers))]
    made = assemble(
        make_forest(params, n_classes, trees, SEED), rows.X, labels, rows.weights, parts
    )
    assert fingerprint(made) == fingerprint(whole)
    assert made.get_params() == whole.get_params()
    assert vars(made).keys() == vars(whole).keys()


@pytest.mark.parametrize("jobs", [1, 3])
def test_parts_are_grown_in_several_threads(jobs: int) -> None:
    rows = make_training_set(0, weighted=False, missing=False)
    make = partial(make_forest, {}, 0, 40, SEED)
    parts = list(grow_parts(make, rows.X, rows.y, None, jobs))
    assert len(parts) == len(divide(40, jobs))
    made = assemble(make(), rows.X, rows.y, None, parts)
    assert fingerprint(made) == fingerprint(fit_forest(make(), rows.X, rows.y, None))


@given(trees=st.integers(1, 2000), jobs=st.integers(1, 300))
def test_parts_contain_each_tree_once_and_all_jobs_get_one(trees: int, jobs: int) -> None:
    parts = divide(trees, jobs)
    assert [number for part in parts for number in part] == list(range(trees))
    assert len(parts) >= min(trees, jobs)


@pytest.mark.parametrize("n_classes", [0, 2])
def test_the_random_splitter_makes_extremely_randomized_trees_with_bootstrap(
    n_classes: int,
) -> None:
    made = make_forest({"splitter": "random", "max_samples": 0.5}, n_classes, 7, 3, jobs=2)
    assert type(made) is (ExtraTreesClassifier if n_classes else ExtraTreesRegressor)
    assert made.bootstrap
    assert (made.n_estimators, made.random_state, made.n_jobs) == (7, 3, 2)
    assert made.max_samples == 0.5
    assert make_forest({}, n_classes, 7, 3).bootstrap

"""Searches inside the worker processes of a pool, which may not start processes themselves."""

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_regression
from sklearn.model_selection import cross_val_score

from search import ForestSearchRegressor, StudySpec, launch


def search_in_pool(folder: str) -> dict[str, Any]:
    X, y = make_regression(60, 3, random_state=0)
    table = pd.DataFrame(X, columns=["a", "b", "c"]).assign(y=y)
    spec = StudySpec(data=table, target="y", study="s", trials=2, trees=10, register=False)
    stores = {
        "storage": f"sqlite:///{folder}/optuna.db",
        "tracking_uri": f"sqlite:///{folder}/m.db",
    }
    return dict(launch(spec, **stores, quiet=True).summary)


@pytest.mark.slow
def test_a_study_is_launched_in_a_worker_of_a_pool(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        summary = pool.apply(search_in_pool, (str(tmp_path),))
    assert summary["state"] == "finished"
    assert summary["trials"]["complete"] + summary["trials"]["pruned"] == 2


def fit_in_pool(_: int) -> float:
    X, y = make_regression(60, 3, random_state=0)
    return float(
        ForestSearchRegressor(trials=2, trees=10, n_jobs=2, random_state=0).fit(X, y).best_score_
    )


@pytest.mark.slow
def test_the_estimators_are_fitted_in_a_worker_of_a_pool_and_in_cross_validation() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (score,) = pool.map(fit_in_pool, [0])
    assert score == fit_in_pool(0)
    X, y = make_regression(60, 3, random_state=0)
    estimator = ForestSearchRegressor(trials=2, trees=10, n_jobs=2, random_state=0)
    scores = cross_val_score(estimator, X, y, cv=2, n_jobs=2)
    np.testing.assert_array_equal(scores, cross_val_score(estimator, X, y, cv=2))

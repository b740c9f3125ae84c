from typing import Any

import numpy as np
import optuna
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from search.errors import UsageError
from search.forest import make_forest
from search.space import default_params, make_space
from search.spec import Range


@pytest.mark.parametrize("n_features", [1, 2, 3, 10, 64, 1000])
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_scikit_learns_defaults_are_inside_the_space_and_grow_the_same_forest(
    task: Any, n_features: int
) -> None:
    space = make_space(task, 200, n_features, {})
    params = default_params(task, n_features, space)
    assert params is not None
    random = np.random.default_rng(0)
    X = random.normal(size=(80, n_features)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    kind = RandomForestClassifier if task == "classification" else RandomForestRegressor
    default = kind(n_estimators=5, random_state=3).fit(X, y)
    ours = make_forest(params, 2 if task == "classification" else 0, 5, 3).fit(X, y)
    np.testing.assert_array_equal(default.predict(X), ours.predict(X))


def test_every_point_of_the_space_makes_a_forest() -> None:
    space = make_space("classification", 120, 7, {})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    X, y = np.random.default_rng(0).normal(size=(120, 7)), np.arange(120) % 2
    for _ in range(20):
        params = study.ask(space).params
        make_forest(params, 2, 2, 0).fit(X, y)


def test_a_narrowed_space_holds_what_was_asked_for() -> None:
    changes: dict[str, Any] = {
        "max_features": Range(low=0.2, high=0.4),
        "min_samples_leaf": Range(low=2, high=50, log=True),
        "max_depth": (4, 8),
        "criterion": "squared_error",
    }
    space = make_space("regression", 200, 10, changes)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(30):
        params = study.ask(space).params
        assert 0.2 <= params["max_features"] <= 0.4
        assert 2 <= params["min_samples_leaf"] <= 50
        assert params["max_depth"] in {4, 8}
        assert params["criterion"] == "squared_error"
    assert default_params("regression", 10, space) is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"n_estimators": 5}, "no hyperparameter that is searched"),
        ({"max_features": 0.0}, "max_features = 0.0"),
        ({"max_features": (0.5, "sqrt")}, "'sqrt'"),
        ({"min_samples_leaf": Range(low=0, high=3)}, "min_samples_leaf = 0"),
        ({"min_samples_leaf": Range(low=1, high=2.5)}, "min_samples_leaf = 2.5"),
        ({"criterion": "gini"}, "squared_error"),
        ({"max_depth": True}, "max_depth = True"),
        ({"max_depth": ()}, "empty list"),
    ],
)
def test_a_wrong_space_says_what_is_wrong(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as error:
        make_space("regression", 100, 5, changes)
    assert says in str(error.value)

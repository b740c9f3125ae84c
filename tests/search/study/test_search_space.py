from pathlib import Path
from typing import Any, get_args

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from search.errors import UsageError
from search.forest.fitting import make_forest
from search.study.search_space import default_params, forest_key, make_space, point_of
from search.study.spec import Range, make_spec, read_config
from search.study.warm_starts import warm_starts
from search.types import Task

ALL: dict[str, Any] = {
    "criterion": ("gini", "entropy"),
    "class_weight": (None, "balanced_subsample"),
    "max_depth": (None, 4, 16),
}


def test_the_integer_1_is_taken_as_a_share() -> None:
    """scikit-learn takes 1 for one column or row, and 1.0 for all of them."""
    asked: dict[str, Any] = {"max_features": 1, "max_samples": (0.5, 1)}
    space = make_space("regression", 200, 10, asked)
    for name in asked:
        choices = getattr(space[name], "choices")  # noqa: B009
        assert choices[-1] == 1
        assert all(type(choice) is float for choice in choices)
    point = point_of(default_params("regression", 10) | {"max_features": 1.0}, space)
    assert point is not None
    assert type(point["max_features"]) is float


@pytest.mark.parametrize("n_features", [1, 2, 3, 10, 64, 1000])
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_scikit_learns_defaults_are_inside_the_space_and_grow_the_same_forest(
    task: Any, n_features: int
) -> None:
    params = point_of(default_params(task, n_features), make_space(task, 200, n_features, {}))
    assert params is not None
    random = np.random.default_rng(0)
    X = random.normal(size=(80, n_features)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    kind = RandomForestClassifier if task == "classification" else RandomForestRegressor
    default = kind(n_estimators=5, random_state=3).fit(X, y)
    ours = make_forest(params, 2 if task == "classification" else 0, 5, 3).fit(X, y)
    np.testing.assert_array_equal(default.predict(X), ours.predict(X))


def test_every_point_of_the_space_makes_a_forest() -> None:
    space = make_space("classification", 120, 7, ALL)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    X, y = np.random.default_rng(0).normal(size=(120, 7)), np.arange(120) % 2
    for _ in range(30):
        params = study.ask(space).params
        assert set(params) == set(space)
        make_forest(params, 2, 2, 0).fit(X, y)


def test_a_narrowed_space_has_the_given_values() -> None:
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
    assert point_of(default_params("regression", 10), space) is None


def test_the_default_space_has_both_kinds_of_forest() -> None:
    tasks: tuple[Task, ...] = ("regression", "classification")
    for task in tasks:
        space = make_space(task, 200, 10, {})
        assert space["splitter"] == optuna.distributions.CategoricalDistribution(("best", "random"))
        assert "class_weight" not in space


@pytest.mark.parametrize(
    ("metric", "weighs"),
    [
        ("balanced_accuracy", True),
        ("f1", True),
        ("f1_weighted", True),
        ("recall", True),
        ("matthews_corrcoef", True),
        ("brier", False),
        ("log_loss", False),
        ("accuracy", False),
    ],
)
def test_class_weight_is_searched_for_metrics_of_rare_classes(metric: str, weighs: bool) -> None:
    assert ("class_weight" in make_space("classification", 200, 10, {}, metric)) == weighs


def test_none_is_text_in_a_toml_file(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        '[space]\nmax_depth = ["none", 3]\nclass_weight = ["none", "balanced_subsample"]\n'
        'splitter = "random"\n'
    )
    space = make_space("classification", 100, 5, make_spec(read_config(path)).space)
    choices = {name: getattr(space[name], "choices", None) for name in space}
    assert choices["max_depth"] == (None, 3)
    assert choices["class_weight"] == (None, "balanced_subsample")
    assert choices["splitter"] == ("random",)


def test_a_point_has_the_hyperparameters_of_the_space_only() -> None:
    space = make_space("regression", 200, 10, {})
    params = default_params("regression", 10)
    point = point_of(params, space)
    assert point is not None
    assert set(point) == set(space)
    assert point.items() <= params.items()


@pytest.mark.parametrize(
    ("changes", "params"),
    [
        ({"max_features": Range(low=0.2, high=0.4)}, {"max_features": 0.5}),
        ({"min_samples_leaf": Range(low=2, high=9)}, {"min_samples_leaf": 1}),
        ({"max_depth": (4, 8)}, {"max_depth": None}),
        ({"max_depth": Range(low=2, high=9)}, {"max_depth": None}),
        ({"splitter": "best"}, {"splitter": "random"}),
        ({}, {"max_samples": 0.01}),
        ({}, {"class_weight": "balanced_subsample"}),
    ],
)
def test_values_outside_the_space_are_not_a_point(
    changes: dict[str, Any], params: dict[str, Any]
) -> None:
    space = make_space("classification", 200, 10, changes)
    inside = {name: d for name, d in space.items() if name not in changes}
    assert point_of(default_params("classification", 10), inside) is not None
    assert point_of(default_params("classification", 10) | params, space) is None


@given(
    st.integers(1, 40),
    st.integers(10, 500),
    st.floats(0.001, 1.0),
    st.floats(0.001, 1.0),
    st.floats(0.01, 1.0),
)
def test_shares_that_give_equal_numbers_of_columns_and_rows_make_the_same_forest(
    n_features: int, n_rows: int, share: float, other: float, samples: float
) -> None:
    def columns(share: float) -> int:
        forest = make_forest({"max_features": share}, 0, 1, 0)
        X, y = np.random.default_rng(0).normal(size=(4, n_features)), np.arange(4)
        return int(forest.fit(X, y).estimators_[0].max_features_)

    def forest(share: float) -> Any:
        params = {"max_features": share, "min_samples_leaf": 2, "max_samples": samples}
        return forest_key(params, n_rows, {None: n_features})

    assert (forest(share) == forest(other)) == (columns(share) == columns(other))
    hash(forest(share))


def test_any_other_difference_makes_another_forest() -> None:
    params = default_params("classification", 10)
    changes: list[dict[str, Any]] = [
        {},
        {"max_samples": 0.5},
        {"max_samples": 0.51},
        {"min_samples_leaf": 2},
        {"max_depth": 4},
        {"splitter": "random"},
        {"criterion": "entropy"},
        {"class_weight": "balanced_subsample"},
    ]
    widths = {"ordinal": 10, "target": 20}
    changes.append({"encoding": "target"})
    assert len({forest_key(params | change, 100, widths) for change in changes}) == len(changes)
    same = dict(reversed((params | {"max_samples": 0.501}).items()))
    other = params | {"max_samples": 0.509}
    assert forest_key(same, 100, widths) == forest_key(other, 100, widths)


def test_the_encoding_is_searched_if_there_is_a_choice() -> None:
    offered = ("ordinal", "target")
    space = make_space("regression", 100, 5, {}, None, offered)
    assert space["encoding"] == CategoricalDistribution(offered)
    fixed = make_space("regression", 100, 5, {"encoding": "target"}, None, offered)
    assert fixed["encoding"] == CategoricalDistribution(("target",))
    assert "encoding" not in make_space("regression", 100, 5, {})


def test_an_encoding_that_the_table_does_not_offer_is_refused() -> None:
    with pytest.raises(UsageError, match="encoding = 'onehot': it must be one of ordinal, target"):
        make_space("regression", 100, 5, {"encoding": "onehot"}, None, ("ordinal", "target"))
    with pytest.raises(UsageError, match="this table has no categories of more than two levels"):
        make_space("regression", 100, 5, {"encoding": "target"})


def test_the_first_trials_try_every_encoding() -> None:
    offered = ("ordinal", "target", "ordinal+target", "onehot")
    for task in get_args(Task):
        space = make_space(task, 1000, 5, {}, None, offered)
        first, unpruned = warm_starts(task, 1000, 5, space)
        assert unpruned == 1
        assert first[0]["encoding"] == "ordinal"
        assert {point["encoding"] for point in first} == set(offered)
        (fixed, *_), _ = warm_starts(
            task, 1000, 5, make_space(task, 1000, 5, {"encoding": "target"}, None, offered)
        )
        assert fixed["encoding"] == "target"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"n_estimators": 5}, "invalid [space] n_estimators: the hyperparameters are splitter"),
        ({"max_features": 0.0}, "max_features = 0.0"),
        ({"max_features": (0.5, "sqrt")}, "'sqrt'"),
        ({"min_samples_leaf": Range(low=0, high=3)}, "min_samples_leaf = 0"),
        ({"min_samples_leaf": Range(low=1, high=2.5)}, "min_samples_leaf = 2.5"),
        ({"criterion": "gini"}, "squared_error"),
        ({"max_depth": True}, "max_depth = True"),
        ({"max_depth": ()}, "max_depth: the list is empty"),
        ({"max_depth": "None"}, "max_depth = 'None': it must be a whole number from 1, or n"),
        ({"splitter": "worst"}, "splitter = 'worst': it must be one of best, random"),
        (
            {"splitter": Range(low=0, high=1)},
            "invalid [space] splitter: it is not a number; give a value or a list",
        ),
        ({"criterion": Range(low=0, high=1)}, "criterion: it is not a number"),
        (
            {"class_weight": "balanced_subsample"},
            "invalid [space] class_weight: the hyperparameters",
        ),
    ],
)
def test_an_invalid_space_is_refused_with_the_valid_values(
    changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError) as error:
        make_space("regression", 100, 5, changes)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ("balanced", "'balanced': it must be one of none, balanced_subsample"),
        (Range(low=1, high=2), "class_weight: it is not a number"),
    ],
)
def test_an_invalid_class_weight_is_refused_with_the_valid_values(choice: Any, says: str) -> None:
    with pytest.raises(UsageError) as error:
        make_space("classification", 100, 5, {"class_weight": choice})
    assert says in str(error.value)

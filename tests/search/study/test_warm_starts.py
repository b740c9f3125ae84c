from typing import Any

import optuna
import pytest

from search.forest.fitting import make_forest
from search.study.search_space import default_params, make_space, point_of
from search.study.spec import Range
from search.study.warm_starts import warm_starts
from search.types import Task

TASKS: tuple[Task, ...] = ("regression", "classification")
SPACES: list[dict[str, Any]] = [
    {},
    {"max_features": Range(low=0.3, high=0.5)},
    {"min_samples_leaf": Range(low=2, high=5), "max_depth": (None, 8)},
    {"splitter": "random"},
    {"splitter": "best", "max_samples": 1.0},
    {"max_depth": "none", "max_samples": Range(low=0.5, high=0.9)},
    {"max_depth": 3},
]
OF_TASK: dict[Task, list[dict[str, Any]]] = {
    "regression": [{"criterion": ("squared_error", "poisson")}, {"criterion": "poisson"}],
    "classification": [
        {"criterion": ("gini", "entropy")},
        {"criterion": "entropy"},
        {"class_weight": ("none", "balanced_subsample")},
        {"class_weight": "balanced_subsample"},
    ],
}
CASES = [(task, changes) for task in TASKS for changes in SPACES + OF_TASK[task]]


@pytest.mark.parametrize("n_rows", [12, 60, 5000])
@pytest.mark.parametrize("n_features", [1, 7, 300])
@pytest.mark.parametrize(("task", "changes"), CASES)
def test_first_points_are_inside_the_space_and_begin_with_the_defaults(
    task: Task, changes: dict[str, Any], n_features: int, n_rows: int
) -> None:
    space = make_space(task, n_rows, n_features, changes)
    points, kept = warm_starts(task, n_rows, n_features, space)
    default = point_of(default_params(task, n_features), space)
    assert kept == (default is not None)
    if default is not None:
        assert points[0] == default
    for point in points:
        assert set(point) == set(space)
        for name, distribution in space.items():
            assert distribution._contains(distribution.to_internal_repr(point[name]))
        make_forest(point, 2 if task == "classification" else 0, 10, 0)
    assert all(point not in points[:k] for k, point in enumerate(points))


@pytest.mark.parametrize("task", TASKS)
def test_on_large_tables_leaves_have_three_rows_or_more(task: Task) -> None:
    space = make_space(task, 100_000, 10, {})
    points, kept = warm_starts(task, 100_000, 10, space)
    leaves = [point["min_samples_leaf"] for point in points]
    assert (kept, leaves[0], min(leaves)) == (1, 3, 3)
    small, _ = warm_starts(task, 99_999, 10, make_space(task, 99_999, 10, {}))
    assert len(points) == len(small)
    assert small[0]["min_samples_leaf"] == 1


@pytest.mark.parametrize("task", TASKS)
def test_the_default_space_has_several_different_first_points(task: Task) -> None:
    points, kept = warm_starts(task, 1000, 10, make_space(task, 1000, 10, {}))
    assert kept == 1
    assert len(points) > 3
    assert {point["splitter"] for point in points} == {"best", "random"}


@pytest.mark.parametrize("task", TASKS)
def test_a_fixed_space_has_no_first_points(task: Task) -> None:
    space = make_space(task, 1000, 10, {"min_samples_leaf": 57, "max_samples": 0.123})
    assert warm_starts(task, 1000, 10, space) == ((), 0)


@pytest.mark.parametrize("task", TASKS)
def test_optuna_accepts_the_points_as_trials(task: Task) -> None:
    space = make_space(task, 100, 10, {})
    study = optuna.create_study()
    for point in warm_starts(task, 100, 10, space)[0]:
        study.add_trial(optuna.create_trial(params=dict(point), distributions=space, value=1.0))


def test_leaves_have_at_most_a_tenth_of_the_rows() -> None:
    space = make_space("regression", 40, 10, {})
    assert max(p["min_samples_leaf"] for p in warm_starts("regression", 40, 10, space)[0]) <= 4

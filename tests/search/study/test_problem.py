from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest

from search.errors import DataError, StudyError, UsageError
from search.study.problem import Problem, create_study, find_study, initialize_study, load_problem
from search.study.spec import make_spec
from storage.studies.study import StudyBook


def posed(**values: Any) -> Problem:
    return load_problem(make_spec(values))


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/optuna.db"


def test_a_settled_study_is_found_again_and_not_settled_anew(storage: str) -> None:
    problem = posed()
    assert find_study(problem, storage) is None
    study = create_study(problem, storage)
    initialize_study(problem, study)
    notes = study.notes()
    initialize_study(problem, study)
    found = find_study(problem, storage)
    assert found is not None
    assert found.notes() == notes
    assert notes["rows"] == 442


def test_of_two_who_make_a_study_at_once_the_first_to_settle_decides(storage: str) -> None:
    first, second = posed(seed=1), posed(seed=2)
    study, same = create_study(first, storage), create_study(second, storage)
    initialize_study(first, study)
    with pytest.raises(StudyError, match="seed is 2, was 1"):
        initialize_study(second, same)
    assert study.get("spec")["seed"] == 1


def test_another_space_is_another_problem(storage: str) -> None:
    initialize_study(posed(), create_study(posed(), storage))
    with pytest.raises(StudyError, match="space is"):
        find_study(posed(space={"max_depth": 4}), storage)


def test_another_evaluation_is_another_problem(storage: str) -> None:
    initialize_study(posed(), create_study(posed(), storage))
    with pytest.raises(StudyError, match="evaluation is 5 folds, was out-of-bag"):
        find_study(posed(evaluation="cv"), storage)


def test_another_role_of_a_column_is_another_problem(storage: str, mixed_csv: Path) -> None:
    common = {"data": str(mixed_csv), "target": "price", "study": "s"}
    initialize_study(
        posed(weight="rooms", **common), create_study(posed(weight="rooms", **common), storage)
    )
    with pytest.raises(StudyError, match="weight is None, was rooms"):
        find_study(posed(**common), storage)
    with pytest.raises(StudyError, match="weight is garden, was rooms"):
        find_study(posed(weight="garden", **common), storage)


def test_the_score_that_guides_is_noted_where_there_is_one(storage: str, mixed_csv: Path) -> None:
    for metric, guide in (("log_loss", "brier"), ("roc_auc", None)):
        common = {"data": str(mixed_csv), "target": "garden", "study": metric}
        problem = posed(metric=metric, **common)
        study = create_study(problem, storage)
        initialize_study(problem, study)
        assert study.get("guide") == guide


def test_a_metric_that_the_weights_do_not_allow_is_refused(mixed_csv: Path) -> None:
    common = {"data": str(mixed_csv), "target": "price", "weight": "rooms"}
    assert posed(metric="mae", **common).training_set.weights is not None
    with pytest.raises(UsageError, match="does not work with these row weights"):
        posed(metric="max_error", **common)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize(
    ("column", "says"),
    [
        (["0.5", "1.5", "1e300", "2.5"] * 15, "column 'a' has infinite values"),
        (["0.5", "inf", "?", "2.5"] * 15, "column 'a' has infinite values"),
        (["N/A"] * 60, "no column holds anything to learn from"),
    ],
)
def test_what_shows_only_once_texts_are_numbers_is_refused(column: list[str], says: str) -> None:
    table = pd.DataFrame({"a": column, "y": np.arange(60.0)})
    with pytest.raises(DataError, match=says):
        posed(data=table, target="y", holdout=0.0)


def test_a_metric_is_checked_on_the_rows_that_are_voted_on() -> None:
    """The first sixth of the times never is."""
    y = np.where(np.arange(240) % 2, "a", "b").astype(object)
    y[:30:2] = "old"
    random = np.random.default_rng(0)
    table = pd.DataFrame({"x": random.normal(size=240), "t": np.arange(240), "y": y})
    asked = {"data": table, "target": "y", "time": "t", "holdout": 0.0}
    with pytest.raises(UsageError, match="roc_auc is not defined"):
        posed(**asked, metric="roc_auc")
    assert posed(**asked, metric="brier")


def test_a_criterion_that_the_target_does_not_allow_is_refused(tmp_path: Path) -> None:
    numbers = np.arange(60.0)
    table = pd.DataFrame({"a": numbers, "low": numbers - 1, "high": numbers})
    space = {"criterion": ["squared_error", "poisson"]}
    assert posed(data=table.drop(columns="low"), target="high", space=space, holdout=0.0)
    with pytest.raises(UsageError, match=r"'poisson' is for values from 0 up: 'low' has -1"):
        posed(data=table.drop(columns="high"), target="low", space=space, holdout=0.0)


def test_choices_made_for_the_user_are_noted_and_rows_are_divided_as_said(
    mixed_csv: Path,
) -> None:
    problem = posed(data=str(mixed_csv), target="price", group="note", folds=3)
    assert problem.notes[-1] == "scored by 3 folds of whole groups"
    assert (problem.evaluation, len(problem.training_set.resampling.folds)) == ("3 folds", 3)
    assert problem.identity()["group"] == "note"
    assert problem.training_set.X.dtype.name == "float32"


def test_a_study_made_elsewhere_is_refused(storage: str) -> None:
    problem = posed(metric="r2")
    StudyBook(storage, create=True).make("diabetes", "minimize")
    with pytest.raises(StudyError, match="not made by grovekeeper"):
        find_study(problem, storage)
    optuna.load_study(study_name="diabetes", storage=storage).ask()
    with pytest.raises(StudyError, match="not made by grovekeeper"):
        find_study(posed(), storage)

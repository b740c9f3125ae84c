from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna_stores import copy_tables

from search.errors import DataError, StudyError, UsageError
from search.forest.growing import grow
from search.forest.oob import evaluate_rung
from search.model.champion import make_champion
from search.study.notes import Identity, StudyNotes, read_initialized
from search.study.problem import Problem, create_study, find_study, initialize_study, load_problem
from search.study.spec import make_spec
from storage.studies.study import StudyBook


def problem_of(**values: Any) -> Problem:
    return load_problem(make_spec(values))


@pytest.fixture
def storage(tmp_path: Path) -> str:
    copy_tables(tmp_path / "optuna.db")
    return f"sqlite:///{tmp_path}/optuna.db"


def test_an_initialized_study_is_found_and_not_initialized_again(storage: str) -> None:
    problem = problem_of()
    assert find_study(problem, storage) is None
    study = create_study(problem, storage)
    initialize_study(problem, study)
    notes = study.read(StudyNotes)
    initialize_study(problem, study)
    found = find_study(problem, storage)
    assert found is not None
    assert found.read(StudyNotes) == notes
    assert notes.rows == 442


def test_the_first_launch_to_initialize_a_study_decides_its_identity(storage: str) -> None:
    first, second = problem_of(seed=1), problem_of(seed=2)
    study, same = create_study(first, storage), create_study(second, storage)
    initialize_study(first, study)
    with pytest.raises(StudyError, match="seed is 2, was 1"):
        initialize_study(second, same)
    assert read_initialized(study).spec.seed == 1


def test_another_space_is_another_problem(storage: str) -> None:
    initialize_study(problem_of(), create_study(problem_of(), storage))
    with pytest.raises(StudyError, match="space is"):
        find_study(problem_of(space={"max_depth": 4}), storage)


def test_another_evaluation_is_another_problem(storage: str) -> None:
    initialize_study(problem_of(), create_study(problem_of(), storage))
    with pytest.raises(StudyError, match="evaluation is 5 folds, was out-of-bag"):
        find_study(problem_of(evaluation="cv"), storage)


def test_another_role_of_a_column_is_another_problem(storage: str, mixed_csv: Path) -> None:
    common = {"data": str(mixed_csv), "target": "price", "study": "s"}
    initialize_study(
        problem_of(weight="rooms", **common),
        create_study(problem_of(weight="rooms", **common), storage),
    )
    with pytest.raises(StudyError, match="weight is None, was rooms"):
        find_study(problem_of(**common), storage)
    with pytest.raises(StudyError, match="weight is garden, was rooms"):
        find_study(problem_of(weight="garden", **common), storage)


@pytest.mark.slow
def test_other_lists_of_columns_are_another_problem(storage: str, mixed_csv: Path) -> None:
    common = {"data": str(mixed_csv), "target": "price", "study": "s", "categorical": ["rooms"]}
    first = problem_of(drop=["note", "sold"], **common)
    initialize_study(first, create_study(first, storage))
    assert find_study(problem_of(drop=["sold", "note"], **common), storage) is not None
    with pytest.raises(StudyError, match=r"drop is \['note'\], was \['note', 'sold'\]"):
        find_study(problem_of(drop=["note"], **common), storage)
    common.pop("categorical")
    with pytest.raises(StudyError, match=r"categorical is None, was \['rooms'\]"):
        find_study(problem_of(drop=["note", "sold"], **common), storage)


def test_the_guide_of_the_metric_is_noted_if_there_is_one(storage: str, mixed_csv: Path) -> None:
    for metric, guide in (("log_loss", "brier"), ("roc_auc", None)):
        common = {"data": str(mixed_csv), "target": "garden", "study": metric}
        problem = problem_of(metric=metric, **common)
        study = create_study(problem, storage)
        initialize_study(problem, study)
        assert study.read(StudyNotes).guide == guide


def test_a_metric_that_does_not_work_with_the_weights_is_refused(mixed_csv: Path) -> None:
    common = {"data": str(mixed_csv), "target": "price", "weight": "rooms"}
    assert problem_of(metric="mae", **common).training_set.weights is not None
    with pytest.raises(UsageError, match="does not work with these row weights"):
        problem_of(metric="max_error", **common)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize(
    ("column", "says"),
    [
        (["0.5", "1.5", "1e300", "2.5"] * 15, "column 'a' has infinite values"),
        (["0.5", "inf", "?", "2.5"] * 15, "column 'a' has infinite values"),
        (["N/A"] * 60, "no column holds anything to learn from"),
    ],
)
def test_columns_that_are_unusable_once_encoded_are_refused(column: list[str], says: str) -> None:
    table = pd.DataFrame({"a": column, "y": np.arange(60.0)})
    with pytest.raises(DataError, match=says):
        problem_of(data=table, target="y", holdout=0.0)


def test_a_metric_is_checked_on_the_rows_that_get_votes() -> None:
    """The first sixth of the times gets none."""
    y = np.where(np.arange(240) % 2, "a", "b").astype(object)
    y[:30:2] = "old"
    random = np.random.default_rng(0)
    table = pd.DataFrame({"x": random.normal(size=240), "t": np.arange(240), "y": y})
    asked = {"data": table, "target": "y", "time": "t", "holdout": 0.0}
    with pytest.raises(UsageError, match="roc_auc is not defined"):
        problem_of(**asked, metric="roc_auc")
    assert problem_of(**asked, metric="brier")


def test_a_criterion_that_does_not_suit_the_target_is_refused(tmp_path: Path) -> None:
    numbers = np.arange(60.0)
    table = pd.DataFrame({"a": numbers, "low": numbers - 1, "high": numbers})
    space = {"criterion": ["squared_error", "poisson"]}
    assert problem_of(data=table.drop(columns="low"), target="high", space=space, holdout=0.0)
    with pytest.raises(
        UsageError, match=r"'poisson': its target must not be negative, but 'low' has -1"
    ):
        problem_of(data=table.drop(columns="high"), target="low", space=space, holdout=0.0)


def test_choices_made_for_the_user_are_noted_and_applied(
    mixed_csv: Path,
) -> None:
    problem = problem_of(data=str(mixed_csv), target="price", group="note", folds=3)
    assert problem.notes[-1] == "scored by 3 folds of whole groups"
    assert (problem.evaluation, len(problem.training_set.resampling.folds)) == ("3 folds", 3)
    assert problem.identity().description.group == "note"
    assert problem.training_set.X.dtype.name == "float32"


def test_hints_on_columns_are_notes_until_the_columns_are_dropped(mixed_csv: Path) -> None:
    table = pd.read_csv(mixed_csv).assign(number=range(240))
    asked: dict[str, Any] = {"data": table, "target": "price"}
    hints = [note for note in problem_of(**asked).notes if "--drop" in note]
    assert [hint.split(" has a distinct")[0] for hint in hints] == [
        "column 'note'",
        "column 'number'",
    ]
    dropped = problem_of(**asked, drop=["number", "note"])
    assert not any("--drop" in note for note in dropped.notes)


def test_a_study_of_another_program_is_refused(storage: str) -> None:
    problem = problem_of(metric="r2")
    StudyBook(storage, create=True).make("diabetes", "minimize")
    with pytest.raises(StudyError, match="not made by grovekeeper"):
        find_study(problem, storage)
    optuna.load_study(study_name="diabetes", storage=storage).ask()
    with pytest.raises(StudyError, match="not made by grovekeeper"):
        find_study(problem_of(), storage)


@pytest.fixture
def leavers() -> pd.DataFrame:
    """Return a table from which nothing can be learned: five percent of its rows left."""
    random = np.random.default_rng(0)
    rows = pd.DataFrame(random.normal(size=(600, 3)), columns=["a", "b", "c"])
    return rows.assign(state=np.where(random.random(600) < 0.05, "left", "stayed"))


@pytest.mark.parametrize(("asked", "worst", "best"), [(None, 0.0, 0.1), ("stayed", 0.9, 1.0)])
def test_all_scores_are_about_the_positive_class(
    leavers: pd.DataFrame, asked: str | None, worst: float, best: float
) -> None:
    problem = problem_of(data=leavers, metric="f1", positive=asked)
    assert problem.identity().description.positive == (asked or "left")
    rows = problem.training_set
    sums = reduce(add, grow(rows, {"min_samples_leaf": 5}, 0, 0, range(4)))
    assert worst <= evaluate_rung(sums, rows, "f1", {}).score <= best
    champion = make_champion(problem.dataset, problem.metric, {"min_samples_leaf": 5}, 20, 0, 1)
    assert worst <= champion.holdout["f1"] <= best


def test_classes_are_named_with_their_rows_and_the_positive_one(leavers: pd.DataFrame) -> None:
    counts = leavers["state"].value_counts()
    notes = problem_of(data=leavers).notes
    said = f"stayed ({counts['stayed']} rows), left ({counts['left']} rows, positive)"
    assert f"classes of 'state': {said} (choose the positive class with --positive)" in notes
    leavers.loc[:3, "state"] = "Left"
    assert any(note.startswith("the classes") for note in problem_of(data=leavers).notes)


def test_another_positive_class_is_another_problem(leavers: pd.DataFrame, storage: str) -> None:
    initialize_study(problem := problem_of(data=leavers), create_study(problem, storage))
    with pytest.raises(StudyError, match="positive is stayed, was left"):
        find_study(problem_of(data=leavers, positive="stayed"), storage)


def test_a_study_of_an_earlier_version_has_the_last_class_as_positive_one(
    leavers: pd.DataFrame, storage: str
) -> None:
    problem = problem_of(data=leavers, positive="stayed")
    study = create_study(problem, storage)
    initialize_study(problem, study)
    stored = problem.identity().model_dump()
    del stored["positive"]
    study.write(StudyNotes(spec=Identity.model_validate(stored)))
    assert find_study(problem, storage) is not None
    with pytest.raises(StudyError, match="positive is left, was stayed"):
        find_study(problem_of(data=leavers), storage)

from pathlib import Path
from typing import Any

import optuna
import pytest

from search.errors import StudyError
from search.problem import Problem, find_study, make_study, pose, settle
from search.spec import make_spec
from storage.studies import StudyBook


def posed(**values: Any) -> Problem:
    return pose(make_spec(values))


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/optuna.db"


def test_a_settled_study_is_found_again_and_not_settled_anew(storage: str) -> None:
    problem = posed()
    assert find_study(problem, storage) is None
    study = make_study(problem, storage)
    settle(problem, study)
    notes = study.notes()
    settle(problem, study)
    found = find_study(problem, storage)
    assert found is not None
    assert found.notes() == notes
    assert notes["rows"] == 442


def test_of_two_who_make_a_study_at_once_the_first_to_settle_decides(storage: str) -> None:
    first, second = posed(seed=1), posed(seed=2)
    study, same = make_study(first, storage), make_study(second, storage)
    settle(first, study)
    with pytest.raises(StudyError, match="seed is 2, was 1"):
        settle(second, same)
    assert study.get("spec")["seed"] == 1


def test_another_space_is_another_problem(storage: str) -> None:
    settle(posed(), make_study(posed(), storage))
    with pytest.raises(StudyError, match="space is"):
        find_study(posed(space={"max_depth": 4}), storage)


def test_a_study_made_elsewhere_is_refused(storage: str) -> None:
    problem = posed(metric="r2")
    StudyBook(storage, create=True).make("diabetes", "minimize")
    with pytest.raises(StudyError, match="not made by grovekeeper"):
        find_study(problem, storage)
    optuna.load_study(study_name="diabetes", storage=storage).ask()
    with pytest.raises(StudyError, match="not made by grovekeeper"):
        find_study(posed(), storage)

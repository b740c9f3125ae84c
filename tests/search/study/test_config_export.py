"""A study exported as a configuration file."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna_stores import copy_tables
from shop import table

from search.study.config_export import export_config
from search.study.notes import Request, StudyNotes
from search.study.problem import Problem, create_study, initialize_study, load_problem
from search.study.spec import make_spec
from storage.studies.study import StudyBook


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[str]:
    copy_tables(tmp_path / "optuna.db")
    return f"sqlite:///{tmp_path}/optuna.db"


def exported(storage: str, **options: Any) -> tuple[Problem, str | None]:
    problem = load_problem(make_spec(options))
    study = create_study(problem, storage)
    initialize_study(problem, study)
    asked = Request(model=problem.spec.model, trees=problem.spec.trees)
    study.write(StudyNotes(goal=problem.spec.trials, asked=asked))
    try:
        return problem, export_config(study)
    finally:
        study.book.rdb.remove_session()
        study.book.rdb.engine.dispose()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"metric": "mae", "seed": 7, "holdout": 0.0, "trials": 12},
        {"experiment": "all", "model": "best", "trees": 60},
        {"evaluation": "cv", "folds": 3},
        {"group": "street"},
        {"time": "age", "folds": 4},
        {"weight": "age"},
        {"drop": ["street", "age"]},
        {
            "categorical": ["street"],
            "drop": ["age"],
            "na": ["-999"],
            "decimal": ",",
            "dates": "day-first",
        },
        {
            "space": {
                "max_depth": ["none", 4, 8],
                "min_samples_leaf": {"low": 2, "high": 9, "log": True},
                "max_features": 0.5,
                "criterion": "squared_error",
            }
        },
    ],
    ids=lambda options: " ".join(options) or "defaults",
)
def test_the_exported_file_makes_the_same_problem(
    storage: str, tmp_path: Path, options: dict[str, Any]
) -> None:
    houses = table(200).assign(age=lambda t: t["age"].abs() + 1, street=lambda t: t.index % 40)
    houses.to_csv(tmp_path / "houses.csv", index=False)
    problem, text = exported(
        storage, data=str(tmp_path / "houses.csv"), target="price", study="homes", **options
    )
    assert text is not None
    again = load_problem(make_spec(tomllib.loads(text)))
    assert again.identity() == problem.identity()
    asked = ("study", "experiment", "model", "trials", "trees")
    for name in asked:
        assert getattr(again.spec, name) == getattr(problem.spec, name)
    assert again.space == problem.space


def test_unusual_names_are_exported(storage: str, tmp_path: Path) -> None:
    odd = 'größe "x"\\\n'
    houses = table(200).rename(columns={"price": odd})
    houses.to_parquet(tmp_path / "a 'b'.parquet")
    problem, text = exported(storage, data=str(tmp_path / "a 'b'.parquet"), target=odd)
    assert text is not None
    assert load_problem(make_spec(tomllib.loads(text))).identity() == problem.identity()


def test_a_study_of_another_program_is_not_exported(storage: str) -> None:
    study = StudyBook(storage, create=True).make("theirs", "minimize")
    assert export_config(study) is None
    study.book.rdb.remove_session()
    study.book.rdb.engine.dispose()

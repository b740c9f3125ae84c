"""The note on a study's run."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
import pytest

from search.report.run_note import describe, study_record
from search.study.importance import importance
from search.study.notes import InitializedNotes
from storage.records import TrialRecord
from storage.studies.statistics import TrialStatistics
from storage.studies.study import StudyBook

_NOTES: dict[str, Any] = {
    "uid": "u" * 32,
    "started": "2026-01-01T00:00:00+00:00",
    "spec": {
        "data": "houses.csv",
        "data_digest": "d" * 64,
        "target": "pr`ice",
        "task": "regression",
        "metric": "rmse",
        "seed": 0,
        "holdout": 0.2,
        "evaluation": "out-of-bag",
        "space": {},
    },
    "goal": 50,
    "rows": 442,
    "columns": 10,
}


def described(statistics: TrialStatistics, state: Any, **more: Any) -> str:
    return describe(InitializedNotes.model_validate(_NOTES | more), statistics, state)


def test_the_record_of_a_study_is_made_without_its_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = StudyBook(f"sqlite:///{tmp_path}/optuna.db", create=True).make("houses", "maximize")
    monkeypatch.setattr("sqlalchemy.orm.Session.execute", lambda *_, **__: pytest.fail("a query"))
    notes = InitializedNotes.model_validate(_NOTES)
    record = study_record(study, notes, TrialStatistics("maximize"), "running")
    assert (record.name, record.uid, record.direction) == ("houses", "u" * 32, "maximize")


def trial(number: int, state: Any, value: float | None) -> TrialRecord:
    params = {"max_features": 0.25, "splitter": "best"}
    return TrialRecord(number, state, params, value=value, ended=datetime.now(UTC))


def test_the_note_shows_progress_and_the_best_trial() -> None:
    trials = [trial(0, "COMPLETE", 5.25), trial(1, "PRUNED", 9.0), trial(2, "FAIL", None)]
    said = described(TrialStatistics("minimize", trials), "running").splitlines()
    assert said == [
        "- **running**: 2 of 50 trials finished (1 complete, 1 pruned, 1 failed)",
        "- **Best**: trial 0, rmse 5.25 (`max_features 0.25, splitter best`)",
        "- **Data**: `houses.csv`, target `pr'ice`, 442 rows, 10 columns",
    ]


def test_names_of_other_programs_are_not_interpreted_as_markdown() -> None:
    odd = TrialRecord(0, "COMPLETE", {"<img src=x>`": "[x](javascript:1)"}, value=1.0)
    said = described(TrialStatistics("minimize", [odd]), "running")
    assert "(`<img src=x>' [x](javascript:1)`)" in said


def test_the_note_of_a_study_without_trials() -> None:
    assert "0 of 50 trials finished (none yet)" in described(TrialStatistics("minimize"), "running")


def test_the_note_of_a_finished_study_shows_importance_scores_and_model() -> None:
    said = described(
        TrialStatistics("minimize", [trial(0, "COMPLETE", 5.0)]),
        "finished",
        importance={"max_features": 0.82},
        holdout={"rmse": 6.0},
        model={"name": "houses", "trial": 0, "trees": 10, "version": 3},
    )
    assert "- **Important hyperparameters**: `max_features` (82%)" in said
    assert "- **Hold-out**: rmse 6" in said
    assert "- **Model**: `houses` version 3" in said


def _study(trials: int, weight: float = 1.0, low: float = 0.0) -> optuna.Study:
    """Return a study whose value depends on `a`, scaled by `weight`, and not on `b`."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    study.optimize(
        lambda t: weight * t.suggest_float("a", low, 1) ** 2 + 0 * t.suggest_float("b", low, 1),
        n_trials=trials,
    )
    return study


def test_the_parameter_that_determines_the_value_is_most_important() -> None:
    found = importance(_study(60))
    assert next(iter(found)) == "a"
    assert 0.5 < found["a"] <= 1.0


@pytest.mark.parametrize(("trials", "weight", "low"), [(9, 1, 0), (20, 0, 0), (20, 1, 1)])
def test_few_or_equal_trials_have_no_importance(trials: int, weight: float, low: float) -> None:
    assert importance(_study(trials, weight, low)) == {}


def test_a_single_parameter_has_all_the_importance() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    study.optimize(lambda t: t.suggest_float("a", 0, 1), n_trials=20)
    assert importance(study) == {"a": 1.0}

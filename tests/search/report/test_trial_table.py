"""The table of trials and their ranking."""

import math

import pytest
from optuna.distributions import FloatDistribution
from settled import settle

from search.report.summary import summarize
from search.report.trial_table import trial_table
from search.study.notes import Request, StudyNotes
from search.study.ranking import best_first
from storage.records import TrialRecord
from storage.studies.statistics import TrialStatistics
from storage.studies.study import Study, StudyBook

SPACE = {"max_features": FloatDistribution(0.1, 1.0)}


@pytest.fixture
def study(book: StudyBook) -> Study:
    """A study with a complete and a running trial."""
    study = book.make("houses", "minimize")
    complete = TrialRecord(0, "COMPLETE", {"max_features": 0.5}, {16: 9.0}, value=3.0, steps=128)
    study.enter_trial(complete, SPACE)
    study.enter_trial(TrialRecord(1, "RUNNING", {"max_features": 0.25}, {16: 7.0}), SPACE)
    return study


def test_a_running_trial_has_its_last_score_unless_there_is_a_guide(study: Study) -> None:
    settle(study)
    columns, rows = trial_table(study, study.trials())
    assert columns == ["trial", "rmse", "state", "trees", "seconds", "max_features"]
    assert [row[:4] for row in rows] == [[0, 3.0, "complete", 128], [1, 7.0, "running", 16]]
    settle(study, "log_loss", guide="brier")
    _, rows = trial_table(study, study.trials())
    assert [row[:4] for row in rows] == [[0, 3.0, "complete", 128], [1, None, "running", 16]]


def test_steps_of_another_program_are_not_shown_as_trees(study: Study) -> None:
    _, rows = trial_table(study, study.trials())
    assert [row[:4] for row in rows] == [[0, 3.0, "complete", None], [1, None, "running", None]]


def test_a_trial_that_violates_a_constraint_is_not_ranked() -> None:
    kept = TrialRecord(0, "COMPLETE", {}, value=3.0)
    broken = TrialRecord(1, "COMPLETE", {}, value=1.0, feasible=False)
    assert best_first([kept, broken], "minimize") == [kept]


def test_a_trial_with_an_infinite_value_is_not_ranked() -> None:
    trials = [
        TrialRecord(0, "COMPLETE", {}, value=math.inf),
        TrialRecord(1, "COMPLETE", {}, value=1.0),
    ]
    assert [trial.number for trial in best_first(trials, "maximize")] == [1]
    best = TrialStatistics("maximize", trials).champion
    assert best is not None
    assert best.number == 1


def test_a_champion_that_is_not_the_best_trial_is_named(study: Study) -> None:
    settle(study, champion={"name": "houses", "trial": 0, "trees": 128})
    assert summarize(study).of_trial == ""
    better = TrialRecord(2, "COMPLETE", {"max_features": 0.75}, value=2.0)
    study.enter_trial(better, SPACE)
    summary = summarize(study)
    assert summary.of_trial == " (of trial 0)"
    assert summary.champion is not None
    assert summary.champion.outdated


def test_a_champion_that_was_chosen_for_its_size_is_not_outdated(study: Study) -> None:
    best, small = (
        TrialRecord(
            number,
            "COMPLETE",
            {"max_features": 0.75},
            {128: value},
            value,
            model_bytes=n_bytes,
            blocks={128: (value - spread, value + spread)},
        )
        for number, value, n_bytes, spread in ((2, 2.0, 10**9, 1.0), (3, 2.1, 10**8, 1.5))
    )
    for record in (best, small):
        study.enter_trial(record, SPACE)
    settle(study, champion={"name": "houses", "trial": 3, "trees": 128})
    summary = summarize(study)
    assert summary.best is not None
    assert (summary.best.number, summary.best.model_bytes) == (2, 10**9)
    assert summary.champion is not None
    assert (summary.champion.trial, summary.champion.outdated) == (3, False)
    assert summary.of_trial == " (of trial 3)"
    study.write(StudyNotes(asked=Request(champion="best")))
    summary = summarize(study)
    assert summary.champion is not None
    assert summary.champion.outdated

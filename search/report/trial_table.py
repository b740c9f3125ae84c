"""A study's trials as a table with a row per trial and a column per hyperparameter."""

from collections.abc import Sequence
from typing import Any

from search.formatting import written
from search.study.notes import read_notes
from search.study.ranking import score_now, trees_now
from storage.records import TrialRecord
from storage.studies.statistics import state_name
from storage.studies.study import Study


def trial_table(study: Study, trials: Sequence[TrialRecord]) -> tuple[list[str], list[list[Any]]]:
    """Return the names of the columns and the rows, in the order of the study's trials.

    A running trial has the number of trees of its last rung, and the score at that rung unless
    rungs are scored by a guide metric. Trials of other programs have no number of trees, because
    their steps can count anything.
    """
    notes = read_notes(study)
    ours = notes.spec is not None
    by_metric = ours and notes.guide is None
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    columns = ["trial", study.metric, "state", "trees", "seconds", *names]
    rows = [
        [
            trial.number,
            score_now(trial) if by_metric else trial.value,
            state_name(trial),
            trees_now(trial) if ours else None,
            trial.fit_seconds,
            *(written(trial.params[name]) if name in trial.params else None for name in names),
        ]
        for trial in trials
    ]
    return columns, rows

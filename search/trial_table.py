"""A study's trials as a table: a row each, their hyperparameters as columns."""

from collections.abc import Sequence
from typing import Any

from storage.records import Direction, TrialRecord


def trial_table(trials: Sequence[TrialRecord], metric: str) -> tuple[list[str], list[list[Any]]]:
    """Return the names of the columns and the rows, in the order of the trials.

    Of a running trial the trees and the score are those of its last rung.
    """
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    columns = ["trial", metric, "state", "trees", "seconds", *names]
    rows = [
        [
            trial.number,
            score_now(trial),
            trial.state.lower(),
            trees_now(trial),
            trial.fit_seconds,
            *(trial.params.get(name) for name in names),
        ]
        for trial in trials
    ]
    return columns, rows


def score_now(trial: TrialRecord) -> float | None:
    """The trial's value, or what it last reported."""
    if trial.value is not None or not trial.scores:
        return trial.value
    return trial.scores[max(trial.scores)]


def trees_now(trial: TrialRecord) -> int | None:
    """The trial's trees, or those of its last report."""
    return trial.trees if trial.trees is not None else max(trial.scores, default=None)


def best_first(trials: Sequence[TrialRecord], direction: Direction) -> list[TrialRecord]:
    """Return the complete trials with a value, the best first; of equal ones the first."""
    sign = 1 if direction == "minimize" else -1
    complete = [t for t in trials if t.state == "COMPLETE" and t.value is not None]
    return sorted(complete, key=lambda t: (sign * (t.value or 0.0), t.number))

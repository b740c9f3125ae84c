"""A study's trials as a table: a row each, their hyperparameters as columns."""

from collections.abc import Sequence
from typing import Any

from search.errors import StudyError
from search.wording import written
from storage.progress import state_name
from storage.records import Direction, TrialRecord, sign
from storage.studies import Study


def trial_table(study: Study, trials: Sequence[TrialRecord]) -> tuple[list[str], list[list[Any]]]:
    """Return the names of the columns and the rows, in the order of the study's trials.

    Of a running trial the trees and the score are those of its last rung, where that is the
    metric's; of a study made elsewhere nobody knows what its steps are.
    """
    ours = study.get("spec") is not None
    by_metric = ours and study.get("guide") is None
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


def score_now(trial: TrialRecord) -> float | None:
    """The trial's value, or what it last reported."""
    if trial.value is not None or not trial.scores:
        return trial.value
    return trial.scores[max(trial.scores)]


def trees_now(trial: TrialRecord) -> int | None:
    """The trial's trees, or those of its last report."""
    return trial.trees if trial.trees is not None else max(trial.scores, default=None)


def best_first(trials: Sequence[TrialRecord], direction: Direction) -> list[TrialRecord]:
    """Return the complete trials that may be the best, the best first; of equal ones the first."""
    ranked = [trial for trial in trials if trial.ranks]
    return sorted(ranked, key=lambda t: (sign(direction) * (t.value or 0.0), t.number))


def best_of(study: Study) -> TrialRecord:
    """Return the study's best complete trial; raise `StudyError` where it has none yet."""
    ranked = best_first(study.trials(), study.direction)
    if not ranked:
        raise StudyError(f"study '{study.name}' has no complete trial yet")
    return ranked[0]

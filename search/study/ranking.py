"""The ranking of a study's trials."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.errors import StudyError
from storage.records import Direction, TrialRecord, sign
from storage.studies.statistics import TrialStatistics

if TYPE_CHECKING:
    from storage.studies.study import Study


def score_now(trial: TrialRecord) -> float | None:
    """Return the trial's value, or the last score that it reported."""
    if trial.value is not None or not trial.scores:
        return trial.value
    return trial.scores[max(trial.scores)]


def score_name(trial: TrialRecord, metric: str, guide: str | None) -> str:
    """Return the name of the score of `score_now`: a trial reports the guide until it has ended."""
    return metric if trial.value is not None or guide is None else guide


def trees_now(trial: TrialRecord) -> int | None:
    """Return the trial's number of trees, or the number at its last report."""
    return trial.steps if trial.steps is not None else max(trial.scores, default=None)


def best_first(trials: Sequence[TrialRecord], direction: Direction) -> list[TrialRecord]:
    """Return the trials that may be the best, best first; ties are ordered by number."""
    ranked = [trial for trial in trials if trial.ranks]
    return sorted(ranked, key=lambda t: (sign(direction) * (t.value or 0.0), t.number))


def best_of(study: "Study") -> TrialRecord:
    """Return the study's best trial, or the best so far; see `TrialStatistics.candidate`.

    Raises
    ------
    StudyError
        If no trial has a score yet.
    """
    best = TrialStatistics(study.direction, study.trials()).candidate
    if best is None:
        raise StudyError(f"no trial of study '{study.name}' has a score yet")
    return best

"""The order of a study's trials: which are ranked, the best first."""

from collections.abc import Sequence

from search.errors import StudyError
from storage.records import Direction, TrialRecord, sign
from storage.studies.study import Study


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

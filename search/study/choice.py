"""Chooses the trial that becomes the champion: the best one, or one with a smaller model."""

from collections.abc import Callable, Iterable

import numpy as np

from search.forest.pruning import PseudoValues, is_behind
from search.formatting import size
from search.study.notes import read_notes
from search.study.ranking import best_of, score_now
from search.study.spec import ChampionChoice
from storage.records import Direction, TrialRecord, sign
from storage.studies.study import Study

# The best trial is the champion if its model is not larger than this, in bytes.
SMALL = 50e6


def choose(
    best: TrialRecord,
    trials: Callable[[], Iterable[TrialRecord]],
    direction: Direction,
    asked: ChampionChoice,
) -> TrialRecord:
    """Return the trial to make the champion of.

    Unless the best trial is asked for, or its model is small, it is the trial with the smallest
    model among those that are not shown to be worse than the best: they went as far, on the same
    rows, and are not behind it (`pruning.is_behind`). Among equal sizes, the better score wins.

    Parameters
    ----------
    best
        The best trial of the study.
    trials
        Returns all trials of the study; called only if a smaller model is looked for.
    direction
        Whether low or high scores are better.
    """
    reference = _comparable(best)
    if asked == "best" or reference is None or (best.model_bytes or 0) <= SMALL:
        return best
    candidates = [best]
    for trial in trials():
        own = _comparable(trial)
        if (
            own is not None
            and (trial.ranks, trial.rows) == (best.ranks, best.rows)
            and max(trial.scores) == max(best.scores)
            and not is_behind(own, reference, direction)
        ):
            candidates.append(trial)

    def order(trial: TrialRecord) -> tuple[float, float, bool, int]:
        score = sign(direction) * (score_now(trial) or 0.0)
        return trial.model_bytes or 0, score, trial is not best, trial.number

    return min(candidates, key=order)


def _comparable(trial: TrialRecord) -> PseudoValues | None:
    """Return the pseudo-values of a trial's last score, if it can be compared with others."""
    if not trial.scores or not trial.model_bytes or trial.given_up or not trial.feasible:
        return None
    found = (trial.blocks or {}).get(max(trial.scores))
    return found if found is not None and np.isfinite(found).all() else None


def chosen_of(study: Study) -> TrialRecord:
    """Return the trial of which the study's last launch, if repeated now, makes the champion.

    Raises
    ------
    StudyError
        If no trial has a score yet.
    """
    asked = read_notes(study).asked
    return choose(best_of(study), study.trials, study.direction, asked.champion)


def choice_message(chosen: TrialRecord, best: TrialRecord, metric: str) -> str:
    """Return a message about a champion that is not the best trial."""
    return (
        f"champion: trial {chosen.number} ({size(chosen.model_bytes or 0)}) instead of the best "
        f"trial {best.number} ({size(best.model_bytes or 0)}): not shown to be worse, {metric} "
        f"{score_now(chosen):.5g} and {score_now(best):.5g}; --champion best takes the best"
    )

"""Progress of a study: counts of its trials and improvements, updated whenever a trial changes."""

import math
from collections.abc import Iterable
from datetime import datetime
from typing import cast

from storage.records import FINISHED_STATES, Direction, TrialRecord, sign

_STATE_NAMES = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}
# Names under which trials are counted, in the order in which they are displayed.
COUNTED = ("complete", "pruned", "interrupted", "failed", "running", "waiting")

# Number of trials that are combined into one point of the throughput.
_TRIALS_PER_POINT = 10


def state_name(trial: TrialRecord) -> str:
    """Return the name under which a trial is counted; interrupted trials are not failed."""
    lost = trial.interrupted and trial.state == "FAIL"
    return "interrupted" if lost else _STATE_NAMES[trial.state]


class BusyTime:
    """Measures the seconds in which trials ran, without the time between launches."""

    def __init__(self) -> None:
        self._latest: datetime | None = None

    def add(self, trial: TrialRecord) -> float:
        """Add a trial, in the order in which trials ended; return the seconds that it adds.

        An interrupted trial adds none, because its end was entered later, when it was found.
        """
        if trial.started is None or trial.ended is None or trial.interrupted:
            return 0.0
        begun = trial.started if self._latest is None else max(trial.started, self._latest)
        self._latest = trial.ended if self._latest is None else max(trial.ended, self._latest)
        return max(0.0, (trial.ended - begun).total_seconds())


def steps_run(trial: TrialRecord) -> int:
    """Return the number of steps that an ended trial ran; 0 if it copies another trial."""
    return trial.steps or 0 if trial.copies is None else 0


def by_end(trial: TrialRecord) -> tuple[float, int]:
    """Return a sort key: the time at which a trial ended, then its number."""
    return trial.ended.timestamp() if trial.ended else 0.0, trial.number


class TrialStatistics:
    """Updates the statistics of a study in constant time for each change of a trial.

    Attributes
    ----------
    counts
        Number of trials in each state, under the names of ``COUNTED``.
    best
        Each improvement of the best value as (highest number of a trial that had ended, value),
        oldest first.
    champion
        The complete trial with the best value; the one with the lowest number if values are equal.
    candidate
        The champion or, until a trial is complete, the trial with the best score among those that
        went furthest. It may be running, pruned or interrupted.
    highest
        Highest number of the trials that have ended; -1 if none has ended.
    throughput
        Steps per second as (number of ended trials, rate), one point for every ten trials.
    """

    def __init__(self, direction: Direction, trials: Iterable[TrialRecord] = ()) -> None:
        self.counts = dict.fromkeys(COUNTED, 0)
        self.best: list[tuple[int, float]] = []
        self.candidate: TrialRecord | None = None
        self.throughput: list[tuple[int, float]] = []
        self._busy = BusyTime()
        self._seconds, self._steps, self._ended = 0.0, 0, 0
        self._sign = sign(direction)
        self._names: dict[int, str] = {}
        self.highest = -1
        known = list(trials)
        ended = [trial for trial in known if trial.ended is not None]
        for trial in sorted(ended, key=by_end):
            self.take(trial)
        for trial in known:
            if trial.ended is None:
                self.take(trial)

    @property
    def champion(self) -> TrialRecord | None:
        """See `TrialStatistics`."""
        best = self.candidate
        return best if best is not None and best.ranks else None

    @property
    def finished(self) -> int:
        """Number of trials that are complete or pruned."""
        return self.counts["complete"] + self.counts["pruned"]

    def take(self, trial: TrialRecord) -> None:
        """Update the statistics with a trial's newest record."""
        before = self._names.get(trial.number)
        if before is not None:
            self.counts[before] -= 1
        name = self._names[trial.number] = state_name(trial)
        self.counts[name] += 1
        if trial.state in FINISHED_STATES:
            self.highest = max(self.highest, trial.number)
            if before in {None, "running", "waiting"}:
                self._take_throughput(trial)
        self._take_candidate(trial)
        if self.candidate is not trial or not trial.ranks or trial.value is None:
            return
        if not self.best or self._sign * trial.value < self._sign * self.best[-1][1]:
            self.best.append((self.highest, trial.value))

    def _take_candidate(self, trial: TrialRecord) -> None:
        known, order = self.candidate, self._order(trial)
        if order is None:
            return
        best = None if known is None or known.number == trial.number else self._order(known)
        if best is None or order < best:
            self.candidate = trial

    def _take_throughput(self, trial: TrialRecord) -> None:
        self._seconds += self._busy.add(trial)
        self._steps += steps_run(trial)
        self._ended += 1
        if self._ended % _TRIALS_PER_POINT == 0 and self._seconds > 0:
            self.throughput.append((self._ended, self._steps / self._seconds))
            self._seconds, self._steps = 0.0, 0

    def _order(self, trial: TrialRecord) -> tuple[float, float, int] | None:
        """Return a sort key, best first; ``None`` if the trial cannot be the champion."""
        if trial.ranks:
            return -math.inf, self._sign * cast("float", trial.value), trial.number
        if not trial.scores or trial.given_up or not trial.feasible:
            return None
        step = max(trial.scores)
        return -step, self._sign * trial.scores[step], trial.number

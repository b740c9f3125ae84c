"""Rounds: trials wait at a rung until all have been scored there, and only the best continue.

`search.forest.rungs` says at which rungs trials wait, and how many continue.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from search.forest.oob import RungResult
from search.forest.pruning import is_behind
from search.forest.rungs import Rung, next_rungs
from search.workers.base import PendingGrowth
from storage.records import Direction, Span, TrialRecord, sign


@dataclass
class RunningTrial:
    """A running trial: it grows, or waits at a rung.

    Attributes
    ----------
    pseudo_values
        Pseudo-values of its scores by step.
    duplicates
        Trials with the same forest, which get its results.
    seconds, spans
        Time spent on smaller samples of the rows, and where and when.
    last
        Its result at the last rung, if this coordinator has grown it.
    """

    record: TrialRecord
    growth: PendingGrowth | None = None
    pseudo_values: dict[int, tuple[float, ...]] = field(default_factory=dict)
    duplicates: list[TrialRecord] = field(default_factory=list)
    seconds: float = 0.0
    spans: tuple[Span, ...] = ()
    last: RungResult | None = None

    @property
    def step(self) -> int:
        """The last step at which the trial was scored; 0 if there is none."""
        return max(self.record.scores, default=0)

    @property
    def value(self) -> float:
        """The last score, in the study's metric."""
        return self.record.scores[self.step] if self.last is None else self.last.score


class Rounds:
    """The running trials that do not grow.

    They wait for other trials, or were chosen to continue as soon as workers are free.

    Parameters
    ----------
    rungs
        All rungs of the study.
    direction
        Direction of the scores by which trials are compared.
    """

    def __init__(self, rungs: tuple[Rung, ...], direction: Direction) -> None:
        self._rungs = rungs
        self._keep = {rung.step: rung.keep for rung in rungs if rung.keep is not None}
        self._direction = direction
        self._waiting: dict[int, RunningTrial] = {}
        self._chosen: deque[RunningTrial] = deque()

    @property
    def trials(self) -> list[RunningTrial]:
        """All trials that wait or were chosen."""
        return [*self._waiting.values(), *self._chosen]

    def last_wait(self, scores: Mapping[int, float]) -> Rung | None:
        """Return the last rung at which a trial with these scores waited; ``None`` if none."""
        passed = (rung for rung in self._rungs if rung.step in scores and rung.keep is not None)
        return max(passed, default=None)

    def waits(self, trial: RunningTrial) -> bool:
        """Whether a trial has to wait at its last rung."""
        return trial.step in self._keep

    def add(self, trial: RunningTrial) -> RunningTrial | None:
        """Let a trial wait; return the worst one if more wait than may continue."""
        self._waiting[trial.record.place] = trial
        waiting = self._at(trial.step)
        if len(waiting) <= self._keep[trial.step]:
            return None
        return self._waiting.pop(waiting[-1].record.place)

    def close(self, growing: Iterable[RunningTrial]) -> list[RunningTrial]:
        """Choose the trials that continue, if all trials have been scored in their round.

        Parameters
        ----------
        growing
            The trials that grow now.

        Returns
        -------
        the trials that do not continue, because they are behind the best one of the round
        """
        if not self._waiting or self._chosen:
            return []
        step = min(trial.step for trial in self._waiting.values())
        if any(next_rungs(self._rungs, trial.step)[0].step <= step for trial in growing):
            return []
        waiting, behind = self._at(step), []
        best = waiting[0].pseudo_values.get(step)
        for trial in waiting:
            del self._waiting[trial.record.place]
            own = trial.pseudo_values.get(step)
            if best and own and is_behind(own, best, self._direction):
                behind.append(trial)
            else:
                self._chosen.append(trial)
        return behind

    def has_chosen(self) -> bool:
        """Whether a trial was chosen that does not grow yet."""
        return bool(self._chosen)

    def pop(self) -> RunningTrial:
        """Remove and return the best chosen trial."""
        return self._chosen.popleft()

    def clear(self) -> None:
        """Remove all trials."""
        self._waiting.clear()
        self._chosen.clear()

    def _at(self, step: int) -> list[RunningTrial]:
        """Return the trials that wait at a rung, the best first."""
        factor = sign(self._direction)
        found = [trial for trial in self._waiting.values() if trial.step == step]
        return sorted(found, key=lambda t: (factor * t.record.scores[step], t.record.place))

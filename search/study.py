"""The coordinator of a study: propose, submit, report, prune, end, and pass every change on.

It is the only one that writes trials. Nothing here follows the clock but the time limit: what a
trial proposes and scores comes from the study's seed and the trial's place in the search.
"""

import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from search import forest
from search.cluster import Growth, Workers
from search.errors import StudyError
from search.metrics import Metric
from search.proposer import Proposal, Proposer
from search.pruning import RUNGS
from storage.records import TrialRecord
from storage.studies import CHAMPION_TREES, FIT_SECONDS, INTERRUPTED, REASON, TREES, Study

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_POLL = 0.2
_MOST_FAILURES = 5
_REASON_LENGTH = 1000

End = Literal["finished", "timeout", "stopped"]


@dataclass(frozen=True)
class Plan:
    """What to search.

    Attributes
    ----------
    first
        Hyperparameters of the first trials, before the sampler proposes any. They are never
        pruned, so that the study is never worse than they are.
    trials
        Finished trials in all, complete or pruned.
    deadline
        On the monotonic clock, in seconds; ``None`` for no time limit.
    """

    space: Mapping[str, "BaseDistribution"]
    metric: Metric
    n_classes: int
    seed: int
    trials: int
    first: tuple[Mapping[str, Any], ...] = ()
    deadline: float | None = None


@dataclass
class _Running:
    proposal: Proposal
    record: TrialRecord
    growth: Growth
    rung: int = 0


@dataclass(frozen=True)
class _Settled:
    """What is known of a trial before it starts; without `params` the sampler proposes them."""

    params: Mapping[str, Any] | None
    place: int
    repeats: int | None = None


class Coordinator:
    """Runs a study on workers.

    Parameters
    ----------
    known
        The trials that the study has already; what is still running there has lost its coordinator.
    changed
        Called with each new record of a trial.
    check
        Called before each write; raises where this process may no longer write.
    stop
        Called several times a second; true ends the search, cleanly.
    """

    def __init__(
        self,
        study: Study,
        plan: Plan,
        workers: Workers,
        known: Iterable[TrialRecord],
        changed: Callable[[TrialRecord], None],
        check: Callable[[], None],
        stop: Callable[[], bool],
    ) -> None:
        self._study = study
        self._plan = plan
        self._workers = workers
        self._changed = changed
        self._check = check
        self._stop = stop
        self._running: dict[int, _Running] = {}
        self._failures = 0
        trials = [self._end_lost(record) for record in known]
        finished = [record for record in trials if record.state in {"COMPLETE", "PRUNED"}]
        self._done = len(finished)
        self._next_place = max((record.place for record in trials), default=-1) + 1
        self._settled = deque(_to_repeat(trials))
        if not trials:
            self._settled += [_Settled(params, k) for k, params in enumerate(plan.first)]
            self._next_place = len(plan.first)
        self._proposer = Proposer(study.direction, plan.space, plan.seed, finished)
        # One task more than workers keeps them busy while the coordinator thinks; a single worker
        # gets none, so that what a trial is proposed from does not depend on how trials overlap.
        self._slots = workers.count + 1 if workers.count > 1 else 1

    def run(self) -> End:
        """Search until enough trials are finished, time is up, or `stop` says so.

        Raises
        ------
        StudyError
            When five trials in a row fail; its message is the last one's.
        """
        while True:
            if self._stop():
                return self._abandon("stopped")
            if self._plan.deadline is not None and time.monotonic() >= self._plan.deadline:
                return self._abandon("timeout")
            while (
                len(self._running) < self._slots
                and self._done + len(self._running) < self._plan.trials
            ):
                self._start_trial()
            if not self._running:
                return "finished"
            try:
                number, growth, outcome = self._workers.finished.get(timeout=_POLL)
            except queue.Empty:
                self._check()
                continue
            running = self._running.get(number)
            if running is not None and running.growth is growth:
                self._judge(running, outcome)

    def _end_lost(self, record: TrialRecord) -> TrialRecord:
        """End a trial that an earlier coordinator left running; others stay as they are."""
        if record.state != "RUNNING":
            return record
        return self._fail(record.number, "interrupted: its coordinator ended", interrupted=True)

    def _start_trial(self) -> None:
        if self._settled:
            settled = self._settled.popleft()
        else:
            settled = _Settled(None, self._next_place)
            self._next_place += 1
        proposal = self._proposer.propose(settled.place, settled.params)
        self._check()
        record = self._study.begin_trial(
            proposal.params, self._plan.space, settled.place, settled.repeats
        )
        growth = self._grow(record, 0, None)
        self._running[record.number] = _Running(proposal, record, growth)
        self._changed(record)

    def _grow(self, record: TrialRecord, rung: int, before: Growth | None) -> Growth:
        trees = range(RUNGS[rung - 1] if rung else 0, RUNGS[rung])
        plan = self._plan
        seed = (plan.seed, record.place)
        return self._workers.grow(
            record.number, seed, record.params, plan.n_classes, plan.metric.name, trees, before
        )

    def _judge(self, running: _Running, outcome: forest.Outcome | Exception) -> None:
        """Report a rung's score; then prune the trial, complete it, or send it to the next rung."""
        if isinstance(outcome, Exception):  # whatever a fit raises fails its trial only
            self._give_up(running, f"{type(outcome).__name__}: {outcome}")
            return
        self._failures = 0
        number, scores = running.record.number, dict(running.record.scores)
        running.record = replace(running.record, scores=scores | {outcome.trees: outcome.score})
        pruned = self._proposer.report(running.proposal, outcome.trees, outcome.score)
        pruned = pruned and running.record.place >= len(self._plan.first)
        last = running.rung == len(RUNGS) - 1
        if not last and not pruned:
            running.rung += 1
            running.growth = self._grow(running.record, running.rung, running.growth)
        self._check()
        self._study.report(number, outcome.trees, outcome.score)
        if last or pruned:
            self._end(running, outcome, complete=last)
        else:
            self._changed(running.record)

    def _end(self, running: _Running, outcome: forest.Outcome, *, complete: bool) -> None:
        notes = {
            TREES: outcome.trees,
            FIT_SECONDS: round(outcome.seconds, 4),
            CHAMPION_TREES: outcome.enough if complete else None,
        }
        number = running.record.number
        state: Literal["COMPLETE", "PRUNED"] = "COMPLETE" if complete else "PRUNED"
        record = self._study.end_trial(number, state, outcome.score, notes)
        self._proposer.finish(running.proposal, outcome.score if complete else None)
        del self._running[number]
        self._done += 1
        self._changed(record)

    def _give_up(self, running: _Running, reason: str) -> None:
        del self._running[running.record.number]
        self._proposer.forget(running.proposal)
        self._fail(running.record.number, reason)
        self._failures += 1
        if self._failures >= _MOST_FAILURES:
            self._abandon("stopped")
            raise StudyError(f"{self._failures} trials in a row failed, the last with {reason}")

    def _abandon(self, end: End) -> End:
        """End the running trials; the next launch grows them again."""
        for running in self._running.values():
            running.growth.cancel()
            self._fail(running.record.number, f"interrupted: {end}", interrupted=True)
        self._running.clear()
        return end

    def _fail(self, number: int, reason: str, *, interrupted: bool = False) -> TrialRecord:
        self._check()
        notes = {REASON: reason[:_REASON_LENGTH], INTERRUPTED: interrupted or None}
        record = self._study.end_trial(number, "FAIL", None, notes)
        self._changed(record)
        return record


def _to_repeat(trials: list[TrialRecord]) -> list[_Settled]:
    """Interrupted trials that none has repeated yet, in the order of their places."""
    repeated = {record.repeats for record in trials}
    lost = [r for r in trials if r.interrupted and r.number not in repeated]
    lost.sort(key=lambda record: record.place)
    return [_Settled(record.params, record.place, record.number) for record in lost]

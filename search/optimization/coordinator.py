"""The coordinator of a study: propose, grow, compare, prune, end, and pass every change on.

Nothing here follows the clock but the time limit and how work is cut into tasks: what a trial
proposes and scores comes from the study's seed and the trial's place in the search.
"""

import queue
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

from search.errors import DeadlyTrialError, StudyError
from search.forest.oob import RungResult
from search.forest.pruning import Incumbent
from search.optimization.plan import Plan
from search.optimization.proposer import Proposer
from search.optimization.trial_queue import TrialQueue
from search.workers.base import GrowthRequest, PendingGrowth, Workers
from search.workers.task_sizing import TaskSizer
from storage.records import LOST_REASON, TrialRecord

_POLL = 0.2
_MOST_FAILURES = 5
_REASON_LENGTH = 1000

End = Literal["finished", "timeout", "stopped"]


@dataclass
class _Running:
    record: TrialRecord
    growth: PendingGrowth | None = None
    blocks: dict[int, tuple[float, ...]] = field(default_factory=dict)
    copies: list[TrialRecord] = field(default_factory=list)


class Coordinator:
    """Runs a study on workers.

    Parameters
    ----------
    known
        The trials that the study has already; what is still running there has lost its coordinator.
    put
        Called with each new record of a trial; raises where this process may no longer write.
    stop
        Called several times a second; true ends the search, cleanly.
    """

    def __init__(
        self,
        plan: Plan,
        workers: Workers,
        task_sizer: TaskSizer,
        known: Iterable[TrialRecord],
        put: Callable[[TrialRecord], None],
        stop: Callable[[], bool],
    ) -> None:
        self._plan = plan
        self._workers = workers
        self._task_sizer = task_sizer
        self._put = put
        self._stop = stop
        self._running: dict[int, _Running] = {}
        # Places of the trials that failed since one was scored.
        self._failing: set[int] = set()
        trials = [self._end_lost(record) for record in known]
        finished = [record for record in trials if record.state in {"COMPLETE", "PRUNED"}]
        self._finished = {record.place: record for record in finished}
        self._next_number = len(trials)
        self._trial_queue = TrialQueue(trials, plan.first)
        direction = plan.metric.direction
        given_up = [record for record in trials if record.given_up]
        self._proposer = Proposer(
            direction, plan.space, plan.forest_key, plan.seed, finished, given_up
        )
        self._incumbent = Incumbent(direction)
        for record in sorted(finished, key=lambda record: record.place):
            if record.blocks is not None and record.value is not None:
                self._incumbent.update(record.value, record.blocks)

    def run(self) -> End:
        """Search until enough trials are finished, time is up, or `stop` says so.

        Raises
        ------
        StudyError
            When five trials in a row fail, retries apart; its message is the last one's. Whatever
            `stop` raises of the kind is passed on. The running trials are ended then, too.
        """
        try:
            return self._run()
        except StudyError:
            self._abandon("stopped")
            raise

    def _run(self) -> End:
        while (wanted := self._wanted()) or self._running:
            if self._stop():
                return self._abandon("stopped")
            if self._plan.deadline is not None and time.monotonic() >= self._plan.deadline:
                return self._abandon("timeout")
            starts = wanted and self._task_sizer.has_room()
            if starts:
                self._start_trial()
            wait = 0.0 if starts else _POLL
            try:
                place, growth, results = self._workers.finished.get(timeout=wait)
            except queue.Empty:
                continue
            running = self._running.get(place)
            if running is not None and running.growth is growth:
                self._task_sizer.ended(growth)
                self._judge(running, results)
        return "finished"

    def _wanted(self) -> bool:
        under_way = sum(1 + len(running.copies) for running in self._running.values())
        return len(self._finished) + under_way < self._plan.trials

    def _end_lost(self, record: TrialRecord) -> TrialRecord:
        """End a trial that an earlier coordinator left running; others stay as they are."""
        if record.state != "RUNNING":
            return record
        return self._fail(record, LOST_REASON, interrupted=True)

    def _start_trial(self) -> None:
        item = self._trial_queue.next()
        proposal = self._proposer.propose(item.place, item.params)
        record = TrialRecord(
            number=self._next_number,
            state="RUNNING",
            params=proposal.params,
            started=datetime.now(UTC),
            place=item.place,
            repeats=item.repeats,
        )
        self._next_number += 1
        if proposal.copies in self._finished:
            self._end_copy(record, self._finished[proposal.copies])
        elif proposal.copies in self._running:
            self._put(record)
            self._running[proposal.copies].copies.append(record)
        else:
            running = _Running(record)
            self._running[record.place] = running
            self._grow(running)
            self._put(record)

    def _grow(self, running: _Running) -> None:
        """Have the trial grown to its end where that is soon, otherwise to its next rung."""
        record, rungs = running.record, self._plan.rungs
        start = max(record.scores, default=0)
        left = tuple(trees for trees in rungs if trees > start)
        short = running.growth is None and self._task_sizer.is_short(rungs[-1])
        kept = record.place < self._plan.kept
        request = GrowthRequest(
            key=record.place,
            seed=self._plan.seed,
            place=record.place,
            params=record.params,
            start=start,
            rungs=left if short else left[:1],
            metric=self._plan.metric.name,
            incumbent={} if kept else self._incumbent.pseudo_values,
            chunk=self._plan.chunk,
        )
        if short:
            parts, running.growth = 1, self._workers.grow_to_end(request)
        else:
            parts = self._task_sizer.parts(len(request.chunks), request.chunk)
            running.growth = self._workers.grow(request, running.growth, parts)
        self._task_sizer.begun(running.growth, parts)

    def _judge(self, running: _Running, results: list[RungResult] | Exception) -> None:
        """Take the scores of one rung or more; then prune, complete or go on with the trial."""
        if isinstance(results, Exception):  # whatever a fit raises fails its trial only
            self._fail_trial(running, results)
            return
        self._failing.clear()
        scores = dict(running.record.scores)
        for result in results:
            scores[result.trees] = result.guide_score
            running.blocks[result.trees] = result.pseudo_values
        last = results[-1]
        running.record = replace(running.record, scores=scores, spans=last.spans)
        self._task_sizer.learn(last.seconds / last.trees)
        complete = last.trees == self._plan.rungs[-1]
        if complete or last.behind:
            self._end(running, last, complete=complete)
        else:
            self._grow(running)
            self._put(running.record)

    def _end(self, running: _Running, result: RungResult, *, complete: bool) -> None:
        leads = complete and self._incumbent.update(result.score, running.blocks)
        record = replace(
            running.record,
            state="COMPLETE" if complete else "PRUNED",
            value=result.score,
            trees=result.trees,
            fit_seconds=result.seconds,
            enough_trees=result.enough_trees if complete else None,
            covered=result.coverage if complete and result.coverage < 1 else None,
            blocks=running.blocks if leads else None,
            ended=datetime.now(UTC),
        )
        del self._running[record.place]
        self._finish(record)
        for copy in running.copies:
            self._end_copy(copy, record)

    def _end_copy(self, record: TrialRecord, original: TrialRecord) -> None:
        """End a trial as another ended that grew the same forest."""
        record = replace(
            record,
            state=original.state,
            scores=original.scores,
            value=original.value,
            trees=original.trees,
            fit_seconds=0.0,
            enough_trees=original.enough_trees,
            covered=original.covered,
            copies=original.number,
            ended=datetime.now(UTC),
        )
        self._finish(record)

    def _finish(self, record: TrialRecord) -> None:
        self._finished[record.place] = record
        self._proposer.finish(record)
        self._put(record)

    def _fail_trial(self, running: _Running, error: Exception) -> None:
        """End a trial that could not be grown; it is tried again, but not for ever."""
        deadly = isinstance(error, DeadlyTrialError)
        reason = str(error) if deadly else f"{type(error).__name__}: {error}"
        del self._running[running.record.place]
        for record in (running.record, *running.copies):
            last = deadly or not self._trial_queue.may_retry(record.place)
            self._proposer.forget(record.place, given_up=last)
            self._trial_queue.fail(self._fail(replace(record, given_up=last), reason))
        self._failing.add(running.record.place)
        if len(self._failing) >= _MOST_FAILURES:
            raise StudyError(f"{_MOST_FAILURES} trials in a row failed, the last with {reason}")

    def _abandon(self, end: End) -> End:
        """End the running trials; the next launch grows them again."""
        for running in self._running.values():
            if running.growth is not None:
                running.growth.cancel()
            for record in (running.record, *running.copies):
                self._fail(record, f"interrupted: {end}", interrupted=True)
        self._running.clear()
        return end

    def _fail(self, record: TrialRecord, reason: str, *, interrupted: bool = False) -> TrialRecord:
        record = replace(
            record,
            state="FAIL",
            reason=reason[:_REASON_LENGTH],
            interrupted=interrupted,
            ended=datetime.now(UTC),
        )
        self._put(record)
        return record

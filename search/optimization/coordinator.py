"""The coordinator of a study proposes trials, has them grown, and prunes or completes them.

The clock affects only the time limit and how work is divided into tasks. A trial's hyperparameters
and scores follow from the study's seed, the trial's place and the trials before it.
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

# Seconds to wait for a result before `stop_requested` and the time limit are checked again.
_POLL = 0.2
_MAX_CONSECUTIVE_FAILURES = 5
_MAX_REASON_LENGTH = 1000

End = Literal["finished", "timeout", "stopped"]


@dataclass
class _RunningTrial:
    """A running trial.

    `pseudo_values` are those of its scores by number of trees; `duplicates` are trials with the
    same forest, which get its results.
    """

    record: TrialRecord
    growth: PendingGrowth | None = None
    pseudo_values: dict[int, tuple[float, ...]] = field(default_factory=dict)
    duplicates: list[TrialRecord] = field(default_factory=list)


class Coordinator:
    """Runs the search of a study on workers.

    Parameters
    ----------
    plan
        The inputs of the search.
    workers
        Workers that have the training set.
    task_sizer
        Decides how work is divided into tasks.
    known
        The trials that the study has. Trials in the state RUNNING were left by a coordinator that
        died.
    save
        Called with each new record of a trial; raises if this process may no longer write.
    stop_requested
        Called several times a second; the search ends cleanly once it returns true.
    """

    def __init__(
        self,
        plan: Plan,
        workers: Workers,
        task_sizer: TaskSizer,
        known: Iterable[TrialRecord],
        save: Callable[[TrialRecord], None],
        stop_requested: Callable[[], bool],
    ) -> None:
        self._plan = plan
        self._workers = workers
        self._task_sizer = task_sizer
        self._save = save
        self._stop_requested = stop_requested
        self._running: dict[int, _RunningTrial] = {}
        # Places of the trials that failed since a trial was last scored.
        self._consecutive_failures: set[int] = set()
        trials = [self._end_lost(record) for record in known]
        finished = [record for record in trials if record.state in {"COMPLETE", "PRUNED"}]
        self._finished = {record.place: record for record in finished}
        self._next_number = len(trials)
        self._trial_queue = TrialQueue(trials, plan.initial_params)
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
        """Search until enough trials are finished, time is up, or a stop is requested.

        Raises
        ------
        StudyError
            If five different trials in a row fail; the message is that of the last one. A
            `StudyError` of `stop_requested` is passed on. In both cases the running trials are
            ended first.
        """
        try:
            return self._run()
        except StudyError:
            self._abandon("stopped")
            raise

    def _run(self) -> End:
        while (needs_trials := self._needs_trials()) or self._running:
            if self._stop_requested():
                return self._abandon("stopped")
            if self._plan.deadline is not None and time.monotonic() >= self._plan.deadline:
                return self._abandon("timeout")
            start = needs_trials and self._task_sizer.has_room()
            if start:
                self._start_trial()
            wait = 0.0 if start else _POLL
            try:
                place, growth, results = self._workers.finished.get(timeout=wait)
            except queue.Empty:
                continue
            running = self._running.get(place)
            if running is not None and running.growth is growth:
                self._task_sizer.remove(growth)
                self._handle_results(running, results)
        return "finished"

    def _needs_trials(self) -> bool:
        """Whether more trials must start to reach the number of trials in the plan."""
        n_running = sum(1 + len(running.duplicates) for running in self._running.values())
        return len(self._finished) + n_running < self._plan.trials

    def _end_lost(self, record: TrialRecord) -> TrialRecord:
        """Fail a trial that a dead coordinator left running; return other trials unchanged."""
        if record.state != "RUNNING":
            return record
        return self._fail(record, LOST_REASON, interrupted=True)

    def _start_trial(self) -> None:
        queued = self._trial_queue.next()
        proposal = self._proposer.propose(queued.place, queued.params)
        record = TrialRecord(
            number=self._next_number,
            state="RUNNING",
            params=proposal.params,
            started=datetime.now(UTC),
            place=queued.place,
            repeats=queued.repeats,
        )
        self._next_number += 1
        original = proposal.duplicate_of
        if original in self._finished:
            self._end_duplicate(record, self._finished[original])
        elif original in self._running:
            self._save(record)
            self._running[original].duplicates.append(record)
        else:
            running = _RunningTrial(record)
            self._running[record.place] = running
            self._grow(running)
            self._save(record)

    def _grow(self, running: _RunningTrial) -> None:
        """Request a trial's trees: all of them if that takes little time, else to its next rung."""
        record, rungs = running.record, self._plan.rungs
        start = max(record.scores, default=0)
        remaining = tuple(trees for trees in rungs if trees > start)
        short = running.growth is None and self._task_sizer.is_short(rungs[-1])
        never_pruned = record.place < self._plan.n_unpruned
        request = GrowthRequest(
            key=record.place,
            seed=self._plan.seed,
            place=record.place,
            params=record.params,
            start=start,
            rungs=remaining if short else remaining[:1],
            metric=self._plan.metric.name,
            incumbent={} if never_pruned else self._incumbent.pseudo_values,
            chunk=self._plan.chunk,
        )
        if short:
            parts, running.growth = 1, self._workers.grow_to_end(request)
        else:
            parts = self._task_sizer.parts(len(request.chunks), request.chunk)
            running.growth = self._workers.grow(request, running.growth, parts)
        self._task_sizer.add(running.growth, parts)

    def _handle_results(
        self, running: _RunningTrial, results: list[RungResult] | Exception
    ) -> None:
        """Store a trial's scores at one or more rungs; then prune, complete or continue it."""
        if isinstance(results, Exception):  # errors of a fit fail only this trial
            self._fail_trial(running, results)
            return
        self._consecutive_failures.clear()
        scores = dict(running.record.scores)
        for result in results:
            scores[result.trees] = result.guide_score
            running.pseudo_values[result.trees] = result.pseudo_values
        last = results[-1]
        running.record = replace(running.record, scores=scores, spans=last.spans)
        self._task_sizer.observe(last.seconds / last.trees)
        complete = last.trees == self._plan.rungs[-1]
        if complete or last.behind:
            self._end(running, last, complete=complete)
        else:
            self._grow(running)
            self._save(running.record)

    def _end(self, running: _RunningTrial, result: RungResult, *, complete: bool) -> None:
        is_incumbent = complete and self._incumbent.update(result.score, running.pseudo_values)
        record = replace(
            running.record,
            state="COMPLETE" if complete else "PRUNED",
            value=result.score,
            steps=result.trees,
            fit_seconds=result.seconds,
            enough_steps=result.enough_trees if complete else None,
            covered=result.coverage if complete and result.coverage < 1 else None,
            blocks=running.pseudo_values if is_incumbent else None,
            ended=datetime.now(UTC),
        )
        del self._running[record.place]
        self._finish(record)
        for duplicate in running.duplicates:
            self._end_duplicate(duplicate, record)

    def _end_duplicate(self, record: TrialRecord, original: TrialRecord) -> None:
        """End a trial with the results of the trial that grew the same forest."""
        record = replace(
            record,
            state=original.state,
            scores=original.scores,
            value=original.value,
            steps=original.steps,
            fit_seconds=0.0,
            enough_steps=original.enough_steps,
            covered=original.covered,
            copies=original.number,
            ended=datetime.now(UTC),
        )
        self._finish(record)

    def _finish(self, record: TrialRecord) -> None:
        self._finished[record.place] = record
        self._proposer.finish(record)
        self._save(record)

    def _fail_trial(self, running: _RunningTrial, error: Exception) -> None:
        """Fail a trial and its duplicates, and queue their retries unless they are given up."""
        deadly = isinstance(error, DeadlyTrialError)
        reason = str(error) if deadly else f"{type(error).__name__}: {error}"
        del self._running[running.record.place]
        for record in (running.record, *running.duplicates):
            given_up = deadly or not self._trial_queue.may_retry(record.place)
            self._proposer.forget(record.place, given_up=given_up)
            self._trial_queue.fail(self._fail(replace(record, given_up=given_up), reason))
        self._consecutive_failures.add(running.record.place)
        if len(self._consecutive_failures) >= _MAX_CONSECUTIVE_FAILURES:
            raise StudyError(
                f"{_MAX_CONSECUTIVE_FAILURES} trials in a row failed, the last with {reason}"
            )

    def _abandon(self, end: End) -> End:
        """Fail the running trials as interrupted; the next launch retries them."""
        for running in self._running.values():
            if running.growth is not None:
                running.growth.cancel()
            for record in (running.record, *running.duplicates):
                self._fail(record, f"interrupted: {end}", interrupted=True)
        self._running.clear()
        return end

    def _fail(self, record: TrialRecord, reason: str, *, interrupted: bool = False) -> TrialRecord:
        record = replace(
            record,
            state="FAIL",
            reason=reason[:_MAX_REASON_LENGTH],
            interrupted=interrupted,
            ended=datetime.now(UTC),
        )
        self._save(record)
        return record

"""The coordinator of a study proposes trials, has them grown, and prunes or completes them.

On large tables, trials first grow on a sample of the rows. They wait there until all trials of the
launch have been scored on it; only the best ones continue on more rows.

The clock affects only the time limit and how work is divided into tasks. A trial's hyperparameters
and scores follow from the study's seed, the trial's place and the trials before it.
"""

import queue
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

from search.errors import DeadlyTrialError, StudyError
from search.forest.oob import RungResult
from search.forest.pruning import Incumbent, is_behind
from search.forest.rungs import next_rungs
from search.optimization.plan import Plan
from search.optimization.proposer import Proposer
from search.optimization.trial_queue import QueuedTrial, TrialQueue
from search.study.notes import GrowingNote
from search.workers.base import GrowthRequest, PendingGrowth, Workers
from search.workers.task_sizing import TaskSizer
from storage.records import LOST_REASON, Span, TrialRecord, sign

# Seconds to wait for a result before `stop_requested` and the time limit are checked again.
_POLL = 0.2
# Seconds for which the search goes on without any score, though the deadline has passed.
_GRACE = 60.0
_MAX_CONSECUTIVE_FAILURES = 5
_MAX_REASON_LENGTH = 1000

End = Literal["finished", "timeout", "stopped"]


@dataclass
class _RunningTrial:
    """A running trial.

    `pseudo_values` are those of its scores by step; `duplicates` are trials with the same forest,
    which get its results. `seconds` were spent in `spans` on smaller samples of the rows. `last` is
    the result at the last rung, if this coordinator has grown it.
    """

    record: TrialRecord
    growth: PendingGrowth | None = None
    pseudo_values: dict[int, tuple[float, ...]] = field(default_factory=dict)
    duplicates: list[TrialRecord] = field(default_factory=list)
    seconds: float = 0.0
    spans: tuple[Span, ...] = ()
    last: RungResult | None = None

    @property
    def value(self) -> float:
        """The last score, in the study's metric."""
        return self.last_score if self.last is None else self.last.score

    @property
    def last_score(self) -> float:
        """The last score by which trials are compared at rungs."""
        return self.record.scores[max(self.record.scores)]


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
        # Running trials that do not grow: they wait at a rung for the other trials, or were chosen
        # there and will continue as soon as workers are free.
        self._waiting: dict[int, _RunningTrial] = {}
        self._chosen: deque[_RunningTrial] = deque()
        self._steps = {rung.step: rung for rung in plan.rungs}
        # Order of the best result so far, and the seconds of a tree on all rows.
        self._best: tuple[tuple[int, float], float] | None = None
        # Places of the trials that failed since a trial was last scored.
        self._consecutive_failures: set[int] = set()
        trials = [self._end_lost(record) for record in known]
        finished = [record for record in trials if record.state in {"COMPLETE", "PRUNED"}]
        # Interrupted trials that were scored at a rung where trials wait, by place.
        ended = {record.place for record in finished}
        resumable = (self._resumable_part(record) for record in trials if record.place not in ended)
        self._resumable = {record.place: record for record in resumable if record is not None}
        self._finished = {record.place: record for record in finished}
        self._next_number = len(trials)
        self._trial_queue = TrialQueue(trials, plan.initial_params)
        direction = plan.metric.direction
        given_up = [record for record in trials if record.given_up]
        scored = [*finished, *map(self._as_scored, self._resumable.values())]
        self._has_score = bool(scored)
        self._proposer = Proposer(
            direction, plan.space, plan.forest_key, plan.seed, scored, given_up
        )
        self._incumbent = Incumbent(direction)
        # Among equal values, the one with pseudo-values at all rungs was the incumbent.
        for record in sorted(finished, key=lambda r: (-len(r.blocks or {}), r.place)):
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
        self._began = time.monotonic()
        while (needs_trials := self._needs_trials()) or self._unfinished():
            if self._stop_requested():
                return self._abandon("stopped")
            if self._is_out_of_time():
                return self._abandon("timeout")
            if not needs_trials and not self._chosen:
                self._choose()
            start = (needs_trials or self._chosen) and self._task_sizer.has_room()
            if start and needs_trials:
                self._start_trial()
            elif start:
                self._continue(self._chosen.popleft())
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

    def _is_out_of_time(self) -> bool:
        """Whether the search must end. It goes on a little longer until a trial has a score."""
        if self._plan.deadline is None:
            return False
        now = time.monotonic()
        if not self._has_score:
            return now >= max(self._plan.deadline, self._began) + _GRACE
        return now + self._plan.reserve(self.tree_seconds) >= self._plan.deadline

    def growing(self) -> list[GrowingNote]:
        """Return how far the trials that grow in several tasks have come; others are short."""
        running = list(self._running.values())
        return [self._progress(one) for one in running if one.growth and one.growth.parts]

    def _progress(self, running: _RunningTrial) -> GrowingNote:
        reached = max(running.record.scores, default=0)
        rung = self._steps[self._next_step(running)]
        parts = running.growth.parts if running.growth else ()
        share = sum(part.done() for part in parts) / max(1, len(parts))
        trees = reached + int(share * (rung.step - reached))
        return GrowingNote(trial=running.record.number, trees=trees, goal=rung.step, rows=rung.rows)

    @property
    def tree_seconds(self) -> float:
        """Seconds of a core that a tree of the best forest takes on all rows; 0 if not known."""
        return 0.0 if self._best is None else self._best[1]

    def _note_best(self, result: RungResult, seconds: float) -> None:
        """Remember the seconds of a tree if the result is the best at the last rung so far."""
        self._has_score = True
        order = -result.step, sign(self._plan.metric.direction) * result.guide_score
        if self._best is None or order < self._best[0]:
            self._best = order, seconds

    def _needs_trials(self) -> bool:
        """Whether more trials must start to reach the number of trials in the plan."""
        n_running = sum(1 + len(running.duplicates) for running in self._unfinished())
        return len(self._finished) + n_running < self._plan.trials

    def _unfinished(self) -> list[_RunningTrial]:
        return [*self._running.values(), *self._waiting.values(), *self._chosen]

    def _choose(self) -> None:
        """Choose the trials that continue, once all have reached the rung where trials wait."""
        if not self._waiting:
            return
        first = min(max(running.record.scores) for running in self._waiting.values())
        if any(self._next_step(running) <= first for running in self._running.values()):
            return
        waiting = self._at(first)
        best = waiting[0].pseudo_values.get(first)
        for running in waiting:
            del self._waiting[running.record.place]
            own = running.pseudo_values.get(first)
            if best and own and is_behind(own, best, self._plan.metric.direction):
                self._end(running, complete=False)
            else:
                self._chosen.append(running)

    def _at(self, step: int) -> list[_RunningTrial]:
        """Return the trials that wait at a rung, the best first."""
        factor = sign(self._plan.metric.direction)
        found = [w for w in self._waiting.values() if max(w.record.scores) == step]
        return sorted(found, key=lambda w: (factor * w.record.scores[step], w.record.place))

    def _next_step(self, running: _RunningTrial) -> int:
        reached = max(running.record.scores, default=0)
        return next(rung.step for rung in self._plan.rungs if rung.step > reached)

    def _wait(self, running: _RunningTrial) -> None:
        """Let a trial wait at its rung; prune the worst one if more wait than may continue."""
        step = max(running.record.scores)
        self._waiting[running.record.place] = running
        if self._proposer.is_running(running.record.place):
            scored = self._as_scored(running.record)
            self._proposer.finish(replace(scored, value=running.value))
        waiting, keep = self._at(step), self._steps[step].keep
        if keep is not None and len(waiting) > keep:
            worst = waiting[-1]
            del self._waiting[worst.record.place]
            self._end(worst, complete=False)
        if running.record.place in self._waiting:
            self._save(running.record)

    def _continue(self, running: _RunningTrial) -> None:
        self._running[running.record.place] = running
        self._grow(running)
        self._save(running.record)

    def _resumable_part(self, record: TrialRecord) -> TrialRecord | None:
        """Return an interrupted trial at the last rung where it waited; ``None`` if it never did.

        It can continue from there, because the trees that it grew before are not needed any more.
        """
        rungs = (self._steps.get(step) for step in record.scores)
        waited = [rung for rung in rungs if rung is not None and rung.keep is not None]
        # With a guide, the score in the study's metric is not stored.
        if not record.interrupted or not waited or self._plan.metric.guide is not None:
            return None
        last, rows = max((rung.step, rung.rows) for rung in waited)
        scores = {step: score for step, score in record.scores.items() if step <= last}
        blocks = {step: row for step, row in (record.blocks or {}).items() if step <= last}
        return replace(record, scores=scores, blocks=blocks, rows=rows)

    def _as_scored(self, record: TrialRecord) -> TrialRecord:
        """Return an unfinished trial as a sampler should see it: pruned at its last rung."""
        step = max(record.scores)
        return replace(record, state="PRUNED", value=record.scores[step], steps=step)

    def _end_lost(self, record: TrialRecord) -> TrialRecord:
        """Fail a trial that a dead coordinator left running; return other trials unchanged."""
        if record.state != "RUNNING":
            return record
        return self._fail(record, LOST_REASON, interrupted=True)

    def _start_trial(self) -> None:
        queued = self._trial_queue.next()
        scored = self._resumable.pop(queued.place, None)
        if scored is not None:
            self._resume(queued, scored)
            return
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
        elif (unfinished := self._find(original)) is not None:
            self._save(record)
            unfinished.duplicates.append(record)
        else:
            running = _RunningTrial(record)
            self._running[record.place] = running
            self._grow(running)
            self._save(record)

    def _find(self, place: int | None) -> _RunningTrial | None:
        """Return the unfinished trial at a place, if there is one."""
        found = (running for running in self._unfinished() if running.record.place == place)
        return next(found, None)

    def _resume(self, queued: QueuedTrial, scored: TrialRecord) -> None:
        """Start a trial with the scores of the interrupted trial that it retries."""
        record = TrialRecord(
            number=self._next_number,
            state="RUNNING",
            params=scored.params,
            scores=scored.scores,
            started=datetime.now(UTC),
            place=queued.place,
            repeats=queued.repeats,
            rows=scored.rows,
            model_bytes=scored.model_bytes,
        )
        self._next_number += 1
        self._wait(_RunningTrial(record, pseudo_values=dict(scored.blocks or {})))

    def _grow(self, running: _RunningTrial) -> None:
        """Request a trial's trees: all of them if that takes little time, else to its next rung.

        A trial is never grown beyond a rung where trials wait.
        """
        record = running.record
        start = max(record.scores, default=0)
        remaining = next_rungs(self._plan.rungs, start)
        rows = remaining[0].rows
        before = remaining[0].step - remaining[0].trees
        if record.rows != rows:  # the sums of another sample are not needed any more
            running.growth, running.spans = None, record.spans
            running.seconds += 0.0 if running.last is None else running.last.seconds
        share = rows / self._plan.rungs[-1].rows
        short = running.growth is None and self._task_sizer.is_short(remaining[-1].trees * share)
        never_pruned = record.place < self._plan.n_unpruned
        request = GrowthRequest(
            key=record.place,
            seed=self._plan.seed,
            place=record.place,
            params=record.params,
            start=start,
            rungs=tuple(rung.step for rung in (remaining if short else remaining[:1])),
            rows=rows,
            metric=self._plan.metric.name,
            incumbent={} if never_pruned else self._incumbent.pseudo_values,
            chunk=self._plan.chunk,
            before=before,
        )
        if short:
            parts, running.growth = 1, self._workers.grow_to_end(request)
        else:
            parts = self._task_sizer.parts(len(request.chunks), request.chunk * share)
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
            scores[result.step] = result.guide_score
            running.pseudo_values[result.step] = result.pseudo_values
        last = running.last = results[-1]
        spans = (*running.spans, *last.spans)
        running.record = replace(
            running.record,
            scores=scores,
            spans=spans,
            rows=last.rows,
            model_bytes=self._plan.model_bytes(running.record.params, last),
        )
        seconds = last.seconds / last.trees * self._plan.rungs[-1].rows / last.rows
        self._task_sizer.observe(seconds)
        self._note_best(last, seconds)
        complete = last.step == self._plan.rungs[-1].step
        if complete or last.behind:
            del self._running[running.record.place]
            self._end(running, complete=complete)
        elif self._steps[last.step].keep is not None:
            del self._running[running.record.place]
            self._wait(running)
        else:
            self._grow(running)
            self._save(running.record)

    def _end(self, running: _RunningTrial, *, complete: bool) -> None:
        record, result = running.record, running.last
        record = replace(
            record,
            state="COMPLETE" if complete else "PRUNED",
            value=running.value,
            steps=max(record.scores),
            fit_seconds=running.seconds + (0.0 if result is None else result.seconds),
            ended=datetime.now(UTC),
        )
        if complete and result is not None:
            blocks = self._kept_blocks(running, result)
            record = replace(
                record,
                enough_steps=result.enough_trees,
                covered=result.coverage if result.coverage < 1 else None,
                blocks=blocks,
            )
        self._finish(record)
        for duplicate in running.duplicates:
            self._end_duplicate(duplicate, record)

    def _kept_blocks(
        self, running: _RunningTrial, result: RungResult
    ) -> dict[int, tuple[float, ...]] | None:
        """Compare a complete trial with the incumbent; return the pseudo-values to store.

        Those of the incumbent are needed at all rungs, those of a trial that may become the
        champion at the last one only.
        """
        incumbent = self._incumbent.pseudo_values.get(result.step)
        if self._incumbent.update(result.score, running.pseudo_values):
            return running.pseudo_values
        direction = self._plan.metric.direction
        if incumbent is None or is_behind(result.pseudo_values, incumbent, direction):
            return None
        return {result.step: result.pseudo_values}

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
            rows=original.rows,
            model_bytes=original.model_bytes,
            copies=original.number,
            ended=datetime.now(UTC),
        )
        self._finish(record)

    def _finish(self, record: TrialRecord) -> None:
        self._finished[record.place] = record
        if self._proposer.is_running(record.place):
            self._proposer.finish(record)
        self._save(record)

    def _fail_trial(self, running: _RunningTrial, error: Exception) -> None:
        """Fail a trial and its duplicates, and queue their retries unless they are given up."""
        deadly = isinstance(error, DeadlyTrialError)
        reason = str(error) if deadly else f"{type(error).__name__}: {error}"
        del self._running[running.record.place]
        for record in (running.record, *running.duplicates):
            given_up = deadly or not self._trial_queue.may_retry(record.place)
            if self._proposer.is_running(record.place):
                self._proposer.forget(record.place, given_up=given_up)
            self._trial_queue.fail(self._fail(replace(record, given_up=given_up), reason))
        self._consecutive_failures.add(running.record.place)
        if len(self._consecutive_failures) >= _MAX_CONSECUTIVE_FAILURES:
            raise StudyError(
                f"{_MAX_CONSECUTIVE_FAILURES} trials in a row failed, the last with {reason}"
            )

    def _abandon(self, end: End) -> End:
        """Fail the running trials as interrupted; the next launch retries them."""
        for running in self._unfinished():
            if running.growth is not None:
                running.growth.cancel()
            own = replace(running.record, blocks=running.pseudo_values or None)
            for record in (own, *running.duplicates):
                self._fail(record, f"interrupted: {end}", interrupted=True)
        self._running.clear()
        self._waiting.clear()
        self._chosen.clear()
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

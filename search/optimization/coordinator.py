"""The coordinator of a study proposes trials, has them grown, and prunes or completes them.

On large tables, trials first grow on a sample of the rows, and wait there until all trials of the
launch have been scored on it (`search.optimization.rounds`).

The clock affects only the time limit and how work is divided into tasks. A trial's hyperparameters
and scores follow from the study's seed, the trial's place and the trials before it.
"""

import queue
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

from search.errors import DeadlyTrialError, StudyError
from search.forest.oob import RungResult
from search.forest.pruning import Incumbent, is_behind
from search.forest.rungs import next_rungs
from search.model.champion import TreeCost
from search.optimization.plan import Plan
from search.optimization.proposer import Proposer
from search.optimization.rounds import Rounds, RunningTrial
from search.optimization.trial_queue import QueuedTrial, TrialQueue
from search.study.notes import GrowingNote
from search.workers.base import GrowthRequest, Workers
from search.workers.task_sizing import TaskSizer
from storage.records import LOST_REASON, TrialRecord, sign

# Seconds to wait for a result before `stop_requested` and the time limit are checked again.
_POLL = 0.2
# Seconds for which the search goes on without any score, though the deadline has passed.
_GRACE = 60.0
_MAX_CONSECUTIVE_FAILURES = 5
_MAX_REASON_LENGTH = 1000

End = Literal["finished", "timeout", "stopped"]


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

    Attributes
    ----------
    tree_cost
        Cost of a tree of the best forest that this coordinator has scored.
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
        self._running: dict[int, RunningTrial] = {}
        self._rounds = Rounds(plan.rungs, plan.metric.direction)
        # Order of the best result so far.
        self._best: tuple[int, float] | None = None
        self.tree_cost = TreeCost()
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
            if not needs_trials:
                for behind in self._rounds.close(self._running.values()):
                    self._end(behind, complete=False)
            waiting = needs_trials or self._rounds.has_chosen()
            start = waiting and self._task_sizer.has_room()
            if start and needs_trials:
                self._start_trial()
            elif start:
                self._continue(self._rounds.pop())
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
        return now + self._plan.reserve(self.tree_cost) >= self._plan.deadline

    def growing(self) -> list[GrowingNote]:
        """Return how far the trials that grow in several tasks have come; others are short."""
        running = list(self._running.values())
        return [self._progress(one) for one in running if one.growth and one.growth.parts]

    def _progress(self, running: RunningTrial) -> GrowingNote:
        rung = next_rungs(self._plan.rungs, running.step)[0]
        parts = running.growth.parts if running.growth else ()
        share = sum(part.done() for part in parts) / max(1, len(parts))
        trees = running.step + int(share * (rung.step - running.step))
        return GrowingNote(trial=running.record.number, trees=trees, goal=rung.step, rows=rung.rows)

    def _note_best(self, result: RungResult, cost: TreeCost) -> None:
        """Remember the cost of a tree if the result is the best at the last rung so far."""
        self._has_score = True
        order = -result.step, sign(self._plan.metric.direction) * result.guide_score
        if self._best is None or order < self._best:
            self._best, self.tree_cost = order, cost

    def _needs_trials(self) -> bool:
        """Whether more trials must start to reach the number of trials in the plan."""
        n_running = sum(1 + len(running.duplicates) for running in self._unfinished())
        return len(self._finished) + n_running < self._plan.trials

    def _unfinished(self) -> list[RunningTrial]:
        return [*self._running.values(), *self._rounds.trials]

    def _wait(self, running: RunningTrial) -> None:
        """Let a trial wait at its rung; prune the worst one if more wait than may continue."""
        if self._proposer.is_running(running.record.place):
            scored = self._as_scored(running.record)
            self._proposer.finish(replace(scored, value=running.value))
        worst = self._rounds.add(running)
        if worst is not None:
            self._end(worst, complete=False)
        if worst is not running:
            self._save(running.record)

    def _continue(self, running: RunningTrial) -> None:
        self._running[running.record.place] = running
        self._grow(running)
        self._save(running.record)

    def _resumable_part(self, record: TrialRecord) -> TrialRecord | None:
        """Return an interrupted trial at the last rung where it waited; ``None`` if it never did.

        It can continue from there, because the trees that it grew before are not needed any more.
        """
        last = self._rounds.last_wait(record.scores)
        # The score in the study's metric is not stored if a guide is used.
        if not record.interrupted or last is None or self._plan.metric.guide is not None:
            return None
        scores = {step: score for step, score in record.scores.items() if step <= last.step}
        blocks = {step: row for step, row in (record.blocks or {}).items() if step <= last.step}
        return replace(record, scores=scores, blocks=blocks, rows=last.rows)

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
            running = RunningTrial(record)
            self._running[record.place] = running
            self._grow(running)
            self._save(record)

    def _find(self, place: int | None) -> RunningTrial | None:
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
            model_steps=scored.model_steps,
        )
        self._next_number += 1
        self._wait(RunningTrial(record, pseudo_values=dict(scored.blocks or {})))

    def _grow(self, running: RunningTrial) -> None:
        """Request a trial's trees: all of them if that takes little time, else to its next rung.

        A trial is never grown beyond a rung where trials wait.
        """
        record = running.record
        remaining = next_rungs(self._plan.rungs, running.step)
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
            start=running.step,
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

    def _handle_results(self, running: RunningTrial, results: list[RungResult] | Exception) -> None:
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
        forecast = self._plan.forecast(running.record.params, last)
        spans = (*running.spans, *last.spans)
        running.record = replace(
            running.record,
            scores=scores,
            spans=spans,
            rows=last.rows,
            model_bytes=forecast.n_bytes,
            model_steps=forecast.auto_trees,
        )
        seconds = last.seconds / last.trees * self._plan.rungs[-1].rows / last.rows
        self._task_sizer.observe(seconds)
        self._note_best(last, TreeCost(seconds, forecast.tree_bytes))
        complete = last.step == self._plan.rungs[-1].step
        if complete or last.behind:
            del self._running[running.record.place]
            self._end(running, complete=complete)
        elif self._rounds.waits(running):
            del self._running[running.record.place]
            self._wait(running)
        else:
            self._grow(running)
            self._save(running.record)

    def _end(self, running: RunningTrial, *, complete: bool) -> None:
        record, result = running.record, running.last
        record = replace(
            record,
            state="COMPLETE" if complete else "PRUNED",
            value=running.value,
            steps=running.step,
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
        self, running: RunningTrial, result: RungResult
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
            model_steps=original.model_steps,
            copies=original.number,
            ended=datetime.now(UTC),
        )
        self._finish(record)

    def _finish(self, record: TrialRecord) -> None:
        self._finished[record.place] = record
        if self._proposer.is_running(record.place):
            self._proposer.finish(record)
        self._save(record)

    def _fail_trial(self, running: RunningTrial, error: Exception) -> None:
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
                self._workers.cancel(running.growth)
            own = replace(running.record, blocks=running.pseudo_values or None)
            for record in (own, *running.duplicates):
                self._fail(record, f"interrupted: {end}", interrupted=True)
        self._running.clear()
        self._rounds.clear()
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

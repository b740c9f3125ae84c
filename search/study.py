"""The coordinator of a study: ask, submit, report, prune, tell, and pass every change on.

It is the only one that asks and tells. Nothing here follows the clock but the time limit: what a
trial proposes and scores comes from the study's seed and the trial's place in the search.
"""

import queue
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, cast

from optuna.samplers import TPESampler
from optuna.trial import TrialState

from search import forest
from search.cluster import Growth, Workers
from search.errors import StudyError
from search.metrics import Metric
from search.pruning import RUNGS, HalvingPruner
from storage.records import TrialRecord
from storage.studies import FIT_SECONDS, INTERRUPTED, REPEATS, TREES, Study, record_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial

# User attribute of a complete trial: the champion's size, should this one win.
CHAMPION_TREES = "champion_trees"
_POLL = 0.2
_MOST_FAILURES = 5

End = Literal["finished", "timeout", "stopped"]


@dataclass(frozen=True)
class Plan:
    """What to search.

    Attributes
    ----------
    first
        Hyperparameters of the first trials; those that are asked before the sampler proposes.
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
    trial: "Trial"
    record: TrialRecord
    place: int
    growth: Growth
    rung: int = 0


class Coordinator:
    """Runs a study on workers.

    Parameters
    ----------
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
        self._done = 0
        self._failures = 0
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
        self._study.optuna.pruner = HalvingPruner()
        self._repair()
        while True:
            if self._stop():
                return self._abandon("stopped")
            if self._plan.deadline is not None and time.monotonic() >= self._plan.deadline:
                return self._abandon("timeout")
            while (
                len(self._running) < self._slots
                and self._done + len(self._running) < self._plan.trials
            ):
                self._check()
                self._start_trial()
            if not self._running:
                return "finished"
            try:
                number, growth = self._workers.finished.get(timeout=_POLL)
            except queue.Empty:
                self._check()
                continue
            running = self._running.get(number)
            if running is not None and running.growth is growth:
                self._check()
                self._judge(running)

    def _repair(self) -> None:
        """End what an earlier coordinator left running, and queue its parameters once more."""
        study = self._study.optuna
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._check()
            ended = "interrupted: its coordinator ended"
            self._changed(self._study.fail(trial.number, ended, interrupted=True))
        trials = study.get_trials(deepcopy=False)
        self._done = sum(t.state in {TrialState.COMPLETE, TrialState.PRUNED} for t in trials)
        repeated = {trial.user_attrs.get(REPEATS) for trial in trials}
        for trial in trials:
            if trial.user_attrs.get(INTERRUPTED) and trial.number not in repeated:
                self._check()
                study.enqueue_trial(trial.params, user_attrs={REPEATS: trial.number})
        if not trials:
            for params in self._plan.first:
                study.enqueue_trial(dict(params))

    def _start_trial(self) -> None:
        study = self._study.optuna
        trials = study.get_trials(deepcopy=False)
        asked = [trial for trial in trials if trial.state != TrialState.WAITING]
        fresh = sum(REPEATS not in trial.user_attrs for trial in asked)
        # A sampler made anew proposes its first points again, so each ask has a seed of its own.
        study.sampler = TPESampler(seed=forest.seed_of(self._plan.seed, fresh))
        trial = study.ask(dict(self._plan.space))
        repeats = trial.user_attrs.get(REPEATS)
        place = fresh if repeats is None else self._place(trials, repeats)
        record = TrialRecord(
            number=trial.number,
            state="RUNNING",
            params=dict(trial.params),
            started=_utc(trial.datetime_start),
            repeats=repeats,
        )
        growth = self._grow(record, place, 0, None)
        self._running[trial.number] = _Running(trial, record, place, growth)
        self._changed(record)

    def _place(self, trials: "list[FrozenTrial]", number: int) -> int:
        """Place in the search of the trial that `number` is, or that it repeats."""
        repeats = trials[number].user_attrs.get(REPEATS)
        if repeats is not None:
            return self._place(trials, repeats)
        return sum(REPEATS not in trial.user_attrs for trial in trials[:number])

    def _grow(self, record: TrialRecord, place: int, rung: int, before: Growth | None) -> Growth:
        trees = range(RUNGS[rung - 1] if rung else 0, RUNGS[rung])
        plan = self._plan
        seed = (plan.seed, place)
        return self._workers.grow(
            record.number, seed, record.params, plan.n_classes, plan.metric.name, trees, before
        )

    def _judge(self, running: _Running) -> None:
        """Report a rung's score; then prune the trial, complete it, or send it to the next rung."""
        try:
            outcome: forest.Outcome = running.growth.outcome.result()
        except Exception as error:  # noqa: BLE001 whatever a fit raises fails its trial only
            self._give_up(running, f"{type(error).__name__}: {error}")
            return
        self._failures = 0
        trial = running.trial
        trial.report(outcome.score, outcome.trees)
        scores = {**running.record.scores, outcome.trees: outcome.score}
        running.record = replace(running.record, scores=scores)
        last = running.rung == len(RUNGS) - 1
        if last or trial.should_prune():
            trial.set_user_attr(TREES, outcome.trees)
            trial.set_user_attr(FIT_SECONDS, round(outcome.seconds, 4))
            if last:
                trial.set_user_attr(CHAMPION_TREES, outcome.enough)
            self._tell(running, None if not last else outcome.score)
            return
        running.rung += 1
        running.growth = self._grow(running.record, running.place, running.rung, running.growth)
        self._changed(running.record)

    def _tell(self, running: _Running, value: float | None) -> None:
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        told = self._study.optuna.tell(running.trial, value, state)
        del self._running[told.number]
        self._done += 1
        self._changed(record_of(told))

    def _give_up(self, running: _Running, reason: str) -> None:
        del self._running[running.record.number]
        self._changed(self._study.fail(running.record.number, reason))
        self._failures += 1
        if self._failures >= _MOST_FAILURES:
            self._abandon("stopped")
            raise StudyError(f"{self._failures} trials in a row failed, the last with {reason}")

    def _abandon(self, end: End) -> End:
        """End the running trials; `_repair` of the next launch grows them again."""
        for running in list(self._running.values()):
            running.growth.cancel()
            self._check()
            number = running.record.number
            self._changed(self._study.fail(number, f"interrupted: {end}", interrupted=True))
        self._running.clear()
        return end


def _utc(time: datetime | None) -> datetime | None:
    return None if time is None else cast("datetime", time).replace(tzinfo=UTC)

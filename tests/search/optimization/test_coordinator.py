import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial, reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import grown, make_training_set, resampled
from optuna_stores import copy_tables

from search.errors import DeadlyTrialError, StudyError
from search.forest.growing import grow
from search.forest.metrics import METRICS
from search.forest.oob import score
from search.forest.pruning import is_behind
from search.forest.resampling import Resampling
from search.forest.rungs import Rung
from search.forest.training_set import TrainingSet
from search.model.champion import TreeCost
from search.optimization.coordinator import Coordinator
from search.optimization.plan import Plan
from search.study.search_space import forest_key, make_space
from search.study.spec import Choice
from search.study.warm_starts import warm_starts
from search.workers.base import GrowthRequest, PendingGrowth, Workers
from search.workers.inline import InlineWorkers
from search.workers.task_sizing import TaskSizer
from storage.records import TrialRecord
from storage.studies.study import Study, StudyBook
from storage.studies.trial_writer import TrialWriter

RUNGS = Resampling().rungs
# A search space of one forest, and one of two times three forests.
ONE: dict[str, Choice] = {
    "splitter": "best",
    "max_features": 0.5,
    "min_samples_leaf": 3,
    "max_samples": 1.0,
}
SIX = ONE | {"min_samples_leaf": (1, 3, 9), "max_features": (0.3, 0.8)}
# Numbers of values whose initial estimate of a trial's time is a moment, or hours.
SHORT, LONG = 4_000, 10**9


@pytest.fixture
def book(tmp_path: Path) -> StudyBook:
    copy_tables(tmp_path / "optuna.db")
    return StudyBook(f"sqlite:///{tmp_path}/optuna.db")


@pytest.fixture
def plan(few: TrainingSet) -> Callable[..., Plan]:
    return partial(plan_for, few)


@pytest.fixture
def growths(two_workers: Workers, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Places of the trials that the two workers are asked to grow."""
    places: list[int] = []

    def counting(grow: Callable[..., PendingGrowth]) -> Callable[..., PendingGrowth]:
        def grow_and_count(request: Any, *arguments: Any) -> PendingGrowth:
            places.append(request.place)
            return grow(request, *arguments)

        return grow_and_count

    for name in ("grow", "grow_to_end"):
        monkeypatch.setattr(two_workers, name, counting(getattr(two_workers, name)))
    return places


def plan_for(
    training_set: TrainingSet,
    trials: int,
    metric: str = "rmse",
    space: dict[str, Choice] | None = None,
    **changes: Any,
) -> Plan:
    chosen, (n_rows, n_features) = METRICS[metric], training_set.X.shape
    distributions = make_space(chosen.task, n_rows, n_features, space or {}, metric)
    initial_params, n_unpruned = warm_starts(chosen.task, n_rows, n_features, distributions)
    made = Plan(
        space=distributions,
        forest_key=partial(forest_key, n_rows=n_rows, n_features={None: n_features}),
        metric=chosen,
        rungs=training_set.rungs,
        chunk=training_set.chunk,
        seed=0,
        trials=trials,
        initial_params=initial_params,
        n_unpruned=n_unpruned,
    )
    return replace(made, **changes)


class Recording:
    """Runs a coordinator, writes its records to a study, and keeps all of them."""

    def __init__(
        self,
        study: Study,
        plan: Plan,
        workers: Workers,
        stop_after: int = 10**9,
        n_values: int = SHORT,
    ) -> None:
        self.records: list[TrialRecord] = []
        self._stop_after = stop_after
        self._stop_at: Callable[[TrialRecord], bool] = lambda _: False
        known = study.trials()
        self._trial_writer = TrialWriter(study, plan.space, lambda: None, lambda _: None)
        task_sizer = TaskSizer(workers.count, n_values)
        self._coordinator = Coordinator(plan, workers, task_sizer, known, self._save, self._stop)

    def run(self) -> str:
        try:
            end = self._coordinator.run()
            self._trial_writer.flush()
            return end
        finally:
            self._trial_writer.close()

    def states(self, number: int) -> list[str]:
        return [r.state for r in self.records if r.number == number]

    def stop_at(self, condition: Callable[[TrialRecord], bool]) -> None:
        """Stop once a record that fulfils the condition was saved."""
        self._stop_at = condition

    def _save(self, record: TrialRecord) -> None:
        self.records.append(record)
        self._trial_writer.put(record)

    def _stop(self) -> bool:
        finished = {r.number for r in self.records if r.state in {"COMPLETE", "PRUNED"}}
        return len(finished) >= self._stop_after or any(map(self._stop_at, self.records))


def results(trials: list[TrialRecord]) -> list[tuple[Any, ...]]:
    """Return the finished trials by place, without times."""
    done = [t for t in trials if t.state != "FAIL"]
    done.sort(key=lambda t: t.place)
    return [(t.place, t.state, dict(t.params), dict(t.scores), t.value, t.blocks) for t in done]


def finished(trials: list[TrialRecord]) -> list[TrialRecord]:
    return [t for t in trials if t.state in {"COMPLETE", "PRUNED"}]


def test_a_search_finishes_exactly_the_requested_number_of_trials(
    book: StudyBook, plan: Callable[..., Plan], two_workers: Workers
) -> None:
    study = book.make("s", "minimize")
    assert Recording(study, plan(12), two_workers).run() == "finished"
    trials = study.trials()
    assert len(trials) == 12
    assert {t.state for t in trials} <= {"COMPLETE", "PRUNED"}
    for trial in trials:
        assert list(trial.scores) == list(RUNGS[: len(trial.scores)])
        assert trial.value == list(trial.scores.values())[-1]
        assert trial.steps == max(trial.scores)
        assert (trial.state == "COMPLETE") == (trial.steps == RUNGS[-1])
        assert (trial.enough_steps is not None) == (trial.state == "COMPLETE")
        assert trial.fit_seconds
        assert trial.started is not None
        assert trial.ended is not None
        assert trial.started < trial.ended
    assert [t.place for t in trials] == list(range(12))


@pytest.mark.slow
def test_scores_follow_from_a_trials_place_and_the_studys_seed(
    book: StudyBook, plan: Callable[..., Plan], two_workers: Workers, few: TrainingSet
) -> None:
    study = book.make("s", "minimize")
    Recording(study, plan(6, seed=7), two_workers).run()
    for trial in study.trials():
        for trees, value in trial.scores.items():
            sums = grown(few, trial.params, trees, 7, trial.place)
            assert score(sums, few, METRICS["rmse"]) == value


def test_initial_trials_come_first_and_the_defaults_are_completed(
    book: StudyBook, plan: Callable[..., Plan], two_workers: Workers
) -> None:
    study, asked = book.make("s", "minimize"), plan(9)
    Recording(study, asked, two_workers).run()
    trials = study.trials()
    first = [t.params for t in sorted(trials, key=lambda t: t.place)]
    assert first[: len(asked.initial_params)] == [dict(params) for params in asked.initial_params]
    assert asked.n_unpruned == 1
    assert trials[0].params == asked.initial_params[0]
    assert trials[0].state == "COMPLETE"


def test_the_defaults_are_not_pruned_by_a_better_incumbent(
    book: StudyBook, plan: Callable[..., Plan], two_workers: Workers
) -> None:
    """They were interrupted, and the incumbent is better than any trial can be."""
    study, asked = book.make("s", "minimize"), plan(3)
    blocks = dict.fromkeys(RUNGS, (1.0,) * 20)
    best = TrialRecord(0, "COMPLETE", asked.initial_params[2], {128: 1.0}, 1.0, place=2)
    study.enter_trial(replace(best, blocks=blocks), asked.space)
    for number, place in ((1, 1), (2, 0)):
        lost = TrialRecord(
            number, "FAIL", asked.initial_params[place], place=place, interrupted=True
        )
        study.enter_trial(lost, asked.space)
    Recording(study, asked, two_workers).run()
    states = {t.place: (t.state, t.steps) for t in study.trials() if t.repeats is not None}
    assert states == {0: ("COMPLETE", RUNGS[-1]), 1: ("PRUNED", RUNGS[0])}


def test_each_change_of_a_trial_is_saved(
    book: StudyBook, plan: Callable[..., Plan], two_workers: Workers
) -> None:
    study = book.make("s", "minimize")
    recording = Recording(study, plan(5), two_workers, n_values=LONG)
    recording.run()
    last = {record.number: record for record in recording.records}
    read = study.trials()
    assert sorted(last) == [t.number for t in read]
    for trial in read:
        saved = last[trial.number]
        assert saved.ended is not None
        assert trial.ended is not None
        assert trial.ended >= saved.ended  # the database sets the time itself
        assert replace(trial, ended=saved.ended) == saved
    assert recording.states(0) == ["RUNNING"] * len(RUNGS) + ["COMPLETE"]
    scores = [list(r.scores) for r in recording.records if r.number == 0]
    assert scores == [list(RUNGS[:k]) for k in range(len(RUNGS))] + [list(RUNGS)]


def test_a_short_trial_is_saved_when_it_starts_and_when_it_ends(
    book: StudyBook, plan: Callable[..., Plan], two_workers: Workers
) -> None:
    recording = Recording(book.make("s", "minimize"), plan(5), two_workers)
    recording.run()
    for number in range(5):
        begun, ended = (r for r in recording.records if r.number == number)
        assert (begun.state, begun.scores, begun.value) == ("RUNNING", {}, None)
        assert ended.state in {"COMPLETE", "PRUNED"}
        assert (begun.started, begun.params) == (ended.started, ended.params)


@pytest.mark.slow
def test_with_one_worker_a_search_is_reproducible(
    book: StudyBook, plan: Callable[..., Plan], one_worker: Workers
) -> None:
    """Even if trials are divided into other tasks: first they are whole, then in parts."""
    first, second = book.make("a", "minimize"), book.make("b", "minimize")
    Recording(first, plan(13), one_worker).run()
    Recording(second, plan(13), one_worker, n_values=LONG).run()
    assert results(first.trials()) == results(second.trials())
    assert {t.state for t in first.trials()} == {"COMPLETE", "PRUNED"}


def test_a_stopped_and_resumed_search_equals_an_uninterrupted_one(
    book: StudyBook, plan: Callable[..., Plan], one_worker: Workers
) -> None:
    """The incumbent's pseudo-values are restored, with which later trials are compared."""
    whole, stopped = book.make("a", "minimize"), book.make("b", "minimize")
    Recording(whole, plan(15), one_worker).run()
    for stop_after in (3, 1, 4):
        assert Recording(stopped, plan(15), one_worker, stop_after).run() == "stopped"
        within = Recording(stopped, plan(15), one_worker, n_values=LONG)
        within.stop_at(lambda record: record.state == "RUNNING" and len(record.scores) == 1)
        assert within.run() == "stopped"
    assert Recording(stopped, plan(15), one_worker).run() == "finished"
    assert results(stopped.trials()) == results(whole.trials())
    assert sum(t.interrupted for t in stopped.trials()) == 3


@pytest.mark.slow
def test_pseudo_values_are_stored_for_each_trial_that_may_become_the_champion(
    book: StudyBook, plan: Callable[..., Plan], one_worker: Workers
) -> None:
    study = book.make("s", "minimize")
    Recording(study, plan(13), one_worker).run()
    best, n_incumbents = float("inf"), 0
    incumbent: tuple[float, ...] = ()
    for trial in study.trials():
        if trial.state != "COMPLETE":
            assert trial.blocks is None
        elif (trial.value or 0) < best:
            assert trial.blocks is not None
            assert list(trial.blocks) == list(RUNGS)
            assert {len(row) for row in trial.blocks.values()} == {20}
            best, incumbent = trial.value or 0, trial.blocks[RUNGS[-1]]
            n_incumbents += 1
        elif trial.blocks is not None:
            ((step, row),) = trial.blocks.items()
            assert step == RUNGS[-1]
            assert not is_behind(row, incumbent, "minimize")
    assert n_incumbents > 1


def test_interrupted_trials_fail_with_a_reason_and_are_retried(
    book: StudyBook, plan: Callable[..., Plan], two_workers: Workers
) -> None:
    study = book.make("s", "minimize")
    assert Recording(study, plan(20), two_workers, stop_after=4).run() == "stopped"
    lost = [t for t in study.trials() if t.state == "FAIL"]
    assert lost
    assert all(t.interrupted and "interrupted" in (t.reason or "") for t in lost)
    Recording(study, plan(20), two_workers).run()
    trials = study.trials()
    assert len(finished(trials)) == 20
    again = {t.repeats: t for t in trials if t.repeats is not None}
    assert {number: t.params for number, t in again.items()} == {t.number: t.params for t in lost}
    assert sorted(t.place for t in trials if t.state != "FAIL") == list(range(20))


def test_trials_that_a_dead_coordinator_left_running_are_retried(
    book: StudyBook, plan: Callable[..., Plan], two_workers: Workers
) -> None:
    study, asked = book.make("s", "minimize"), plan(3)
    study.enter_trial(TrialRecord(0, "RUNNING", asked.initial_params[0]), asked.space)
    recording = Recording(study, asked, two_workers)
    assert recording.records[0].state == "FAIL"
    recording.run()
    trials = study.trials()
    assert trials[0].reason == "interrupted: its coordinator ended"
    assert trials[1].repeats == 0
    assert trials[1].params == asked.initial_params[0]
    assert len(finished(trials)) == 3


def test_a_time_limit_ends_the_search(
    book: StudyBook, plan: Callable[..., Plan], two_workers: Workers
) -> None:
    study = book.make("s", "minimize")
    asked = plan(10**6, deadline=time.monotonic() + 1.5)
    assert Recording(study, asked, two_workers).run() == "timeout"
    assert finished(study.trials())
    assert all(t.state != "RUNNING" for t in study.trials())


def test_five_failures_in_a_row_end_the_study_with_the_error(
    book: StudyBook, plan: Callable[..., Plan], two_workers: Workers, few: TrainingSet
) -> None:
    study = book.make("s", "minimize")
    two_workers.load(replace(few, y=few.y[:-1]))
    with pytest.raises(StudyError, match=r"5 trials in a row failed.*ValueError"):
        Recording(study, plan(50), two_workers).run()
    trials = study.trials()
    assert {t.state for t in trials} == {"FAIL"}
    failed = [t for t in trials if not t.interrupted]
    assert len(failed) == 5
    assert all("ValueError" in (t.reason or "") for t in failed)


def failing(
    workers: Workers,
    monkeypatch: pytest.MonkeyPatch,
    errors: Callable[[GrowthRequest], Exception | None],
) -> None:
    """Make the growth of some trials fail; `errors` returns the error of the next attempt."""

    def or_fail(grow: Callable[..., PendingGrowth]) -> Callable[..., PendingGrowth]:
        def grow_or_fail(request: GrowthRequest, *arguments: Any) -> PendingGrowth:
            error = errors(request)
            if error is None:
                return grow(request, *arguments)
            growth = PendingGrowth(Future())
            workers.finished.put((request.key, growth, error))
            return growth

        return grow_or_fail

    for name in ("grow", "grow_to_end"):
        monkeypatch.setattr(workers, name, or_fail(getattr(workers, name)))


@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_a_failed_trial_is_retried_and_does_not_count_as_finished(
    book: StudyBook,
    plan: Callable[..., Plan],
    two_workers: Workers,
    monkeypatch: pytest.MonkeyPatch,
    times: int,
) -> None:
    left = {1: times}

    def error(request: GrowthRequest) -> Exception | None:
        left[request.place] = left.get(request.place, 0) - 1
        return ValueError("once more") if left[request.place] >= 0 else None

    failing(two_workers, monkeypatch, error)
    study = book.make("s", "minimize")
    assert Recording(study, plan(8), two_workers).run() == "finished"
    trials = study.trials()
    assert sorted(t.place for t in finished(trials)) == list(range(8))
    failed = [t for t in trials if t.state == "FAIL"]
    assert [t.place for t in failed] == [1] * times
    assert not any(t.given_up or t.interrupted for t in failed)
    again = [t for t in trials if t.repeats is not None]
    assert [t.repeats for t in again] == [t.number for t in failed]
    assert all(t.params == failed[0].params for t in again)


def test_a_trial_that_fails_a_fourth_time_is_given_up_and_replaced(
    book: StudyBook,
    plan: Callable[..., Plan],
    two_workers: Workers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failing(
        two_workers, monkeypatch, lambda request: ValueError("bad") if request.place == 1 else None
    )
    study = book.make("s", "minimize")
    assert Recording(study, plan(8), two_workers).run() == "finished"
    trials = study.trials()
    assert sorted(t.place for t in finished(trials)) == [0, *range(2, 9)]
    assert [t.given_up for t in trials if t.state == "FAIL"] == [False, False, False, True]
    assert Recording(study, plan(10), two_workers).run() == "finished"
    assert sorted(t.place for t in finished(study.trials())) == [0, *range(2, 11)]


@pytest.mark.slow
def test_a_trial_that_kills_its_workers_is_not_retried(
    book: StudyBook,
    plan: Callable[..., Plan],
    two_workers: Workers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deadly = DeadlyTrialError("killed 3 workers")
    failing(two_workers, monkeypatch, lambda request: deadly if request.place == 1 else None)
    study = book.make("s", "minimize")
    assert Recording(study, plan(8), two_workers).run() == "finished"
    (failed,) = [t for t in study.trials() if t.state == "FAIL"]
    assert (failed.place, failed.given_up, failed.reason) == (1, True, "killed 3 workers")


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(DeadlyTrialError("killed 3 workers"), marks=pytest.mark.slow),
        ValueError("bad"),
    ],
)
def test_a_forest_that_was_given_up_is_not_proposed_again(
    book: StudyBook,
    plan: Callable[..., Plan],
    two_workers: Workers,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    failing(
        two_workers, monkeypatch, lambda o: error if o.params["min_samples_leaf"] == 9 else None
    )
    three, study = ONE | {"min_samples_leaf": (1, 3, 9)}, book.make("s", "minimize")
    assert Recording(study, plan(8, space=three), two_workers).run() == "finished"
    failed = [t for t in study.trials() if t.state == "FAIL"]
    assert [t.given_up for t in failed][-1]
    assert len(failed) == (1 if isinstance(error, DeadlyTrialError) else 4)
    assert Recording(study, plan(12, space=three), two_workers).run() == "finished"
    assert len([t for t in study.trials() if t.state == "FAIL"]) == len(failed)
    assert len(finished(study.trials())) == 12


def test_a_search_with_all_its_trials_is_finished_even_after_its_deadline(
    book: StudyBook, plan: Callable[..., Plan], two_workers: Workers
) -> None:
    study, asked = book.make("s", "minimize"), plan(3)
    assert Recording(study, asked, two_workers, stop_after=3).run() == "finished"
    late = replace(asked, deadline=time.monotonic())
    assert Recording(study, late, two_workers).run() == "finished"


def test_nothing_is_saved_once_the_lease_is_lost(
    plan: Callable[..., Plan], two_workers: Workers
) -> None:
    class LostError(Exception):
        pass

    records: list[TrialRecord] = []
    lost = threading.Event()

    def save(record: TrialRecord) -> None:
        if lost.is_set():
            raise LostError
        records.append(record)
        if record.state == "COMPLETE":
            lost.set()

    task_sizer = TaskSizer(lambda: 2, SHORT)
    coordinator = Coordinator(plan(50), two_workers, task_sizer, [], save, lambda: False)
    with pytest.raises(LostError):
        coordinator.run()
    before = len(records)
    time.sleep(0.5)
    assert len(records) == before


def test_a_duplicate_of_a_running_trial_gets_its_results(
    book: StudyBook, plan: Callable[..., Plan], two_workers: Workers, growths: list[int]
) -> None:
    study = book.make("s", "minimize")
    recording = Recording(study, plan(4, space=ONE), two_workers)
    assert recording.run() == "finished"
    original, *copies = study.trials()
    assert growths == [0]
    assert original.copies is None
    for copy in copies:
        assert recording.states(copy.number) == ["RUNNING", "COMPLETE"]
        assert (copy.copies, copy.fit_seconds, copy.blocks) == (original.number, 0.0, None)
        assert (copy.state, copy.value, copy.scores) == (
            "COMPLETE",
            original.value,
            original.scores,
        )
        assert (copy.steps, copy.enough_steps) == (original.steps, original.enough_steps)
        assert copy.params == original.params


def test_a_duplicate_of_a_finished_trial_gets_its_results(
    book: StudyBook, plan: Callable[..., Plan], two_workers: Workers, growths: list[int]
) -> None:
    study = book.make("s", "minimize")
    Recording(study, plan(8, space=SIX), two_workers).run()
    resumed = Recording(study, plan(11, space=SIX), two_workers)
    resumed.run()
    trials = study.trials()
    assert sorted(set(growths)) == list(range(6))
    assert [t.copies is not None for t in trials] == [False] * 6 + [True] * 5
    by_number = {t.number: t for t in trials}
    for copy in trials[6:]:
        original = by_number[copy.copies or 0]
        assert (copy.params, copy.state) == (original.params, original.state)
        assert (copy.value, copy.scores) == (original.value, original.scores)
    assert all(resumed.states(number) == [by_number[number].state] for number in (8, 9, 10))


def test_an_interrupted_duplicate_is_retried_as_a_duplicate(
    book: StudyBook, plan: Callable[..., Plan], two_workers: Workers, growths: list[int]
) -> None:
    study, asked = book.make("s", "minimize"), plan(3, space=ONE)
    params = {name: d.choices[0] for name, d in asked.space.items()}  # type: ignore[attr-defined]
    for place in range(2):
        study.enter_trial(TrialRecord(place, "RUNNING", params, place=place), asked.space)
    Recording(study, asked, two_workers).run()
    again = [(t.place, t.repeats, t.copies) for t in study.trials()[2:]]
    assert again == [(0, 0, None), (1, 1, 2), (2, None, 2)]
    assert growths == [0]


@pytest.mark.slow
def test_a_search_of_duplicates_can_be_stopped_and_obeys_its_deadline(
    book: StudyBook, plan: Callable[..., Plan], two_workers: Workers
) -> None:
    """Duplicates end at once, so the search never waits for workers."""
    study = book.make("s", "minimize")
    asked = plan(10**6, space=ONE)
    assert Recording(study, asked, two_workers, stop_after=5).run() == "stopped"
    asked = replace(asked, deadline=time.monotonic() + 0.02)
    assert Recording(study, asked, two_workers).run() == "timeout"
    assert 5 <= len(finished(study.trials())) < 10**5


@pytest.mark.slow
def test_with_a_guide_the_scores_are_the_guides_and_the_value_is_the_metrics(
    book: StudyBook, two_workers: Workers, cancer: TrainingSet
) -> None:
    rows = make_training_set(cancer.X[:200], cancer.y[:200], 2)
    two_workers.load(rows)
    study = book.make("s", "minimize")
    Recording(study, plan_for(rows, 5, "log_loss"), two_workers).run()
    for trial in study.trials():
        for trees, value in trial.scores.items():
            sums = grown(rows, trial.params, trees, 0, trial.place)
            assert value == score(sums, rows, METRICS["brier"])
        assert trial.value == score(sums, rows, METRICS["log_loss"])
        assert trial.value != value


def test_a_score_can_be_maximized(
    book: StudyBook, one_worker: Workers, cancer: TrainingSet
) -> None:
    """Pruned trials are worse than the best at the same number of trees; the best is complete."""
    rows = make_training_set(cancer.X[:200], cancer.y[:200], 2)
    one_worker.load(rows)
    study, leaves = book.make("s", "maximize"), (1, 3, 40, 60, 90)
    asked = plan_for(rows, 5, "roc_auc", ONE | {"min_samples_leaf": leaves})
    Recording(study, asked, one_worker).run()
    trials = study.trials()
    best = max((t for t in trials if t.blocks is not None), key=lambda t: t.value or 0)
    assert best.value == max(t.value or 0 for t in trials if t.state == "COMPLETE")
    assert best.params["min_samples_leaf"] in {1, 3}
    pruned = [t for t in trials if t.state == "PRUNED"]
    assert pruned
    for trial in pruned:
        assert trial.value is not None
        assert trial.value < best.scores[trial.steps or 0]


@pytest.mark.slow
def test_with_folds_trials_are_compared_at_rungs_that_are_multiples_of_the_folds(
    book: StudyBook, two_workers: Workers, few: TrainingSet
) -> None:
    numbers = np.arange(len(few.y))
    folds = tuple((numbers[numbers % 3 != k], numbers[numbers % 3 == k]) for k in range(3))
    rows = resampled(few, folds=folds)
    two_workers.load(rows)
    study = book.make("s", "minimize")
    Recording(study, plan_for(rows, 5), two_workers).run()
    for trial in study.trials():
        assert list(trial.scores) == list(rows.resampling.rungs[: len(trial.scores)])
        sums = grown(rows, trial.params, trial.steps or 0, 0, trial.place)
        assert trial.value == score(sums, rows, METRICS["rmse"])
        assert trial.covered is None


def test_the_share_of_rows_with_enough_votes_is_recorded(
    book: StudyBook, two_workers: Workers
) -> None:
    random = np.random.default_rng(0)
    weights = np.r_[np.full(150, 1.0), np.full(50, 30.0)]
    rows = make_training_set(random.normal(size=(200, 3)), random.normal(size=200), 0, weights)
    two_workers.load(rows)
    study = book.make("s", "minimize")
    Recording(study, plan_for(rows, 2, space=ONE), two_workers).run()
    for trial in study.trials():
        assert trial.covered is not None
        assert 0.7 < trial.covered < 1


# Trials start on 60 rows, three continue on 100 rows, two of them on all 150.
SAMPLES = (Rung(16, 60, 16, 3), Rung(32, 100, 16, 2), Rung(48, 150, 16), Rung(64, 150, 32))


def sampled(
    study: Study,
    few: TrainingSet,
    stop_after: int = 10**9,
    trials: int = 12,
    n_values: int = SHORT,
    **changes: Any,
) -> Recording:
    workers = InlineWorkers()
    workers.load(few)
    made = plan_for(few, trials, **{"rungs": SAMPLES, "n_unpruned": 0} | changes)
    return Recording(study, made, workers, stop_after, n_values)


def test_all_trials_are_compared_on_a_sample_before_the_best_continue(
    book: StudyBook, few: TrainingSet
) -> None:
    study = book.make("s", "minimize")
    recording = sampled(study, few)
    assert recording.run() == "finished"
    trials = finished(study.trials())
    assert len(trials) == 12
    assert all(16 in trial.scores for trial in trials)
    by_score = sorted(trials, key=lambda trial: trial.scores[16])
    further = [trial for trial in trials if len(trial.scores) > 1]
    assert {t.number for t in further} <= {t.number for t in by_score[:3]}
    assert by_score[0] in further
    last = [trial for trial in trials if trial.rows == 150]
    assert 1 <= len(last) <= 2
    assert any(trial.state == "COMPLETE" for trial in last)
    # No trial continues while another one has not been scored on the sample.
    first_score = {}
    for place, record in enumerate(recording.records):
        if record.scores:
            first_score.setdefault(record.number, place)
    continued = [k for k, record in enumerate(recording.records) if len(record.scores) > 1]
    assert min(continued) > max(first_score.values())


def test_scores_on_a_sample_are_those_of_trees_grown_on_its_rows(
    book: StudyBook, few: TrainingSet
) -> None:
    study = book.make("s", "minimize")
    sampled(study, few).run()
    (best, *_) = [t for t in study.trials() if t.state == "COMPLETE"]
    metric = METRICS["rmse"]
    for step, n_rows in ((16, 60), (32, 100), (48, 150)):
        rows = few.sample(n_rows)
        sums = reduce(add, grow(rows, best.params, 0, best.place, [step // 16 - 1]))
        assert score(sums, rows, metric) == best.scores[step]
    both = reduce(add, grow(few, best.params, 0, best.place, [2, 3]))
    assert score(both, few, metric) == best.value
    assert best.rows == 150
    assert best.steps == 64


@pytest.mark.slow
def test_trials_that_wait_are_running_and_continue_after_an_interruption(
    book: StudyBook, few: TrainingSet
) -> None:
    whole, stopped = book.make("a", "minimize"), book.make("b", "minimize")
    sampled(whole, few).run()
    assert sampled(stopped, few, stop_after=2).run() == "stopped"
    lost = [trial for trial in stopped.trials() if trial.state == "FAIL"]
    assert len(lost) == 3
    assert all(trial.interrupted and trial.scores and trial.blocks for trial in lost)
    recording = sampled(stopped, few)
    assert recording.run() == "finished"
    assert results(stopped.trials()) == results(whole.trials())
    # Trees on the sample are not grown again.
    again = {record.number for record in recording.records if record.repeats is not None}
    assert len(again) == 3
    for number in again:
        records = [r for r in recording.records if r.number == number]
        assert all(record.scores for record in records)


@pytest.mark.slow
def test_a_trial_interrupted_on_all_rows_continues_from_the_last_sample(
    book: StudyBook, few: TrainingSet
) -> None:
    whole, stopped = book.make("a", "minimize"), book.make("b", "minimize")
    sampled(whole, few).run()
    first = sampled(stopped, few, n_values=LONG)
    first.stop_at(lambda record: record.rows == 150)
    assert first.run() == "stopped"
    lost = [trial for trial in stopped.trials() if trial.state == "FAIL"]
    assert {max(trial.scores) for trial in lost} >= {48}
    again = sampled(stopped, few)
    assert again.run() == "finished"
    assert results(stopped.trials()) == results(whole.trials())
    retried = [record for record in again.records if record.repeats is not None]
    assert all(32 in record.scores for record in retried)


def test_more_trials_are_compared_on_the_sample_when_a_study_is_extended(
    book: StudyBook, few: TrainingSet
) -> None:
    study = book.make("s", "minimize")
    sampled(study, few, trials=6).run()
    sampled(study, few, trials=12).run()
    trials = finished(study.trials())
    assert len(trials) == 12
    assert all(16 in trial.scores for trial in trials)
    assert sum(trial.rows == 150 for trial in trials) <= 4


def test_the_time_limit_leaves_time_for_the_champion_but_waits_for_a_first_score(
    book: StudyBook, few: TrainingSet
) -> None:
    study = book.make("s", "minimize")
    over = time.monotonic() - 1
    assert sampled(study, few, deadline=over).run() == "timeout"
    assert [sorted(trial.scores) for trial in study.trials()] == [[16]]

    other, asked = book.make("t", "minimize"), list[TreeCost]()

    def reserve(cost: TreeCost) -> float:
        asked.append(cost)
        return 1000.0

    late = time.monotonic() + 999
    assert sampled(other, few, deadline=late, reserve=reserve).run() == "timeout"
    assert len(other.trials()) == 1
    assert asked[0].seconds > 0

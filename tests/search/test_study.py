import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes

from search.cluster import Workers, prepare
from search.errors import StudyError
from search.metrics import get_metric
from search.pruning import RUNGS
from search.space import default_params, make_space
from search.study import Coordinator, Plan
from storage.records import TrialRecord
from storage.studies import Study, StudyBook

X, Y = load_diabetes(return_X_y=True)
X = np.ascontiguousarray(X, dtype=np.float32)


@pytest.fixture(scope="module")
def one_worker() -> Iterator[Workers]:
    prepare()
    with Workers(1) as workers:
        workers.load(X, Y)
        yield workers


@pytest.fixture(scope="module")
def two_workers() -> Iterator[Workers]:
    with Workers(2) as workers:
        workers.load(X, Y)
        yield workers


@pytest.fixture
def book(tmp_path: Path) -> StudyBook:
    return StudyBook(f"sqlite:///{tmp_path}/optuna.db", create=True)


def plan(trials: int, **changes: Any) -> Plan:
    space = make_space("regression", len(Y), X.shape[1], {})
    first = default_params("regression", X.shape[1], space)
    assert first is not None
    made = Plan(space, get_metric("rmse", "regression"), 0, 0, trials, (first,))
    return replace(made, **changes)


class Recording:
    """Runs a coordinator and keeps every record that it passes on."""

    def __init__(self, study: Study, plan: Plan, workers: Workers, stop_after: int = 10**9) -> None:
        self.records: list[TrialRecord] = []
        self._stop_after = stop_after
        self._coordinator = Coordinator(
            study, plan, workers, study.trials(), self.records.append, lambda: None, self._stop
        )

    def run(self) -> str:
        return self._coordinator.run()

    def _stop(self) -> bool:
        finished = {r.number for r in self.records if r.state in {"COMPLETE", "PRUNED"}}
        return len(finished) >= self._stop_after


def outcome(trials: list[TrialRecord]) -> list[tuple[int, str, dict[str, Any], dict[int, float]]]:
    """What was searched, by place; without what was interrupted."""
    done = [t for t in trials if t.state != "FAIL"]
    done.sort(key=lambda t: t.place)
    return [(t.place, t.state, dict(t.params), dict(t.scores)) for t in done]


def test_a_search_finishes_exactly_as_many_trials_as_asked_for(
    book: StudyBook, two_workers: Workers
) -> None:
    study = book.make("s", "minimize")
    recording = Recording(study, plan(12), two_workers)
    assert recording.run() == "finished"
    trials = study.trials()
    assert len(trials) == 12
    assert {t.state for t in trials} <= {"COMPLETE", "PRUNED"}
    for trial in trials:
        assert list(trial.scores) == list(RUNGS[: len(trial.scores)])
        assert trial.value == list(trial.scores.values())[-1]
        assert trial.trees == max(trial.scores)
        assert (trial.state == "COMPLETE") == (trial.trees == RUNGS[-1])
        assert (trial.champion_trees is not None) == (trial.state == "COMPLETE")


def test_scikit_learns_defaults_are_tried_first_and_always_to_the_end(
    book: StudyBook, two_workers: Workers
) -> None:
    study = book.make("s", "minimize")
    Recording(study, plan(8), two_workers).run()
    first = study.trials()[0]
    assert first.params == plan(1).first[0]
    assert first.state == "COMPLETE"


def test_each_change_of_a_trial_is_passed_on_and_the_last_is_the_databases(
    book: StudyBook, two_workers: Workers
) -> None:
    study = book.make("s", "minimize")
    recording = Recording(study, plan(5), two_workers)
    recording.run()
    last = {record.number: record for record in recording.records}
    assert list(last.values()) == [last[t.number] for t in study.trials()]
    assert [last[t.number] for t in study.trials()] == study.trials()
    states = [r.state for r in recording.records if r.number == 0]
    assert states == ["RUNNING"] * len(RUNGS) + ["COMPLETE"]


def test_with_one_worker_the_same_spec_proposes_and_scores_the_same(
    book: StudyBook, one_worker: Workers
) -> None:
    first, second = book.make("a", "minimize"), book.make("b", "minimize")
    for study in (first, second):
        Recording(study, plan(14), one_worker).run()
    assert outcome(first.trials()) == outcome(second.trials())


def test_stopped_and_resumed_it_proposes_and_scores_as_if_it_had_not_been(
    book: StudyBook, one_worker: Workers
) -> None:
    whole, stopped = book.make("a", "minimize"), book.make("b", "minimize")
    Recording(whole, plan(14), one_worker).run()
    for stop_after in (3, 4, 5):
        assert Recording(stopped, plan(14), one_worker, stop_after).run() == "stopped"
    assert Recording(stopped, plan(14), one_worker).run() == "finished"
    assert outcome(stopped.trials()) == outcome(whole.trials())


def test_what_was_interrupted_is_failed_with_the_reason_and_repeated(
    book: StudyBook, two_workers: Workers
) -> None:
    study = book.make("s", "minimize")
    Recording(study, plan(20), two_workers, stop_after=4).run()
    lost = [t for t in study.trials() if t.state == "FAIL"]
    assert lost
    assert all(t.interrupted and "interrupted" in (t.reason or "") for t in lost)
    Recording(study, plan(20), two_workers).run()
    trials = study.trials()
    assert sum(t.state in {"COMPLETE", "PRUNED"} for t in trials) == 20
    again = {t.repeats: t for t in trials if t.repeats is not None}
    assert {number: t.params for number, t in again.items()} == {t.number: t.params for t in lost}
    assert sorted(t.place for t in trials if t.state != "FAIL") == list(range(20))


def test_what_a_dead_coordinator_left_running_is_ended_and_repeated(
    book: StudyBook, two_workers: Workers
) -> None:
    study = book.make("s", "minimize")
    params = plan(1).first[0]
    study.begin_trial(params, plan(1).space, 0, None)
    recording = Recording(study, plan(3), two_workers)
    assert recording.records[0].state == "FAIL"
    recording.run()
    trials = study.trials()
    assert trials[0].reason == "interrupted: its coordinator ended"
    assert trials[1].repeats == 0
    assert trials[1].params == params
    assert sum(t.state in {"COMPLETE", "PRUNED"} for t in trials) == 3


def test_a_time_limit_ends_the_search(book: StudyBook, two_workers: Workers) -> None:
    study = book.make("s", "minimize")
    begun = time.monotonic()
    assert Recording(study, plan(10**6, deadline=begun + 1.5), two_workers).run() == "timeout"
    assert time.monotonic() - begun < 10
    assert all(t.state != "RUNNING" for t in study.trials())


def test_five_failures_in_a_row_end_the_study_with_their_error(book: StudyBook) -> None:
    study = book.make("s", "minimize")
    with Workers(1) as workers:
        workers.load(X, Y[:-1])
        with pytest.raises(StudyError, match=r"5 trials in a row failed.*ValueError"):
            Recording(study, plan(50), workers).run()
    states = [t.state for t in study.trials()]
    assert states == ["FAIL"] * 5
    assert all("ValueError" in (t.reason or "") for t in study.trials())


def test_nothing_is_written_once_the_lease_is_lost(book: StudyBook, two_workers: Workers) -> None:
    class LostError(Exception):
        pass

    study, lost = book.make("s", "minimize"), threading.Event()

    def check() -> None:
        if lost.is_set():
            raise LostError

    def changed(record: TrialRecord) -> None:
        if record.state == "COMPLETE":
            lost.set()

    coordinator = Coordinator(study, plan(50), two_workers, [], changed, check, lambda: False)
    with pytest.raises(LostError):
        coordinator.run()
    before = study.trials()
    time.sleep(0.5)
    assert study.trials() == before


def test_a_local_cluster_listens_on_loopback_only(two_workers: Workers) -> None:
    import psutil

    this = psutil.Process()
    listening = [
        connection.laddr.ip
        for process in (this, *this.children(recursive=True))
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 3
    assert set(listening) == {"127.0.0.1"}

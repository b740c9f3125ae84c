import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from examples import SPACE, close, close_book, database_of, trial
from optuna.exceptions import StorageInternalError

from storage import database
from storage.errors import DatabaseError, LeaseLostError
from storage.records import TrialRecord
from storage.studies.study import Study, StudyBook
from storage.studies.trial_writer import TrialWriter

PATIENCE = 20.0


class RecordedWriter:
    """A trial writer and the records that it reports as entered."""

    def __init__(
        self, study: Study, check: Callable[[], None] = lambda: None, **limits: int
    ) -> None:
        self.entered: list[TrialRecord] = []
        self.trial_writer = TrialWriter(study, SPACE, check, self.entered.append, **limits)

    def states(self, number: int) -> list[str]:
        return [record.state for record in self.entered if record.number == number]


@pytest.fixture
def open_writer(study: Study) -> Iterator[Callable[..., RecordedWriter]]:
    writers: list[RecordedWriter] = []

    def open_writer(**options: Any) -> RecordedWriter:
        writers.append(RecordedWriter(study, **options))
        return writers[-1]

    yield open_writer
    for recorded in writers:
        recorded.trial_writer.close()


def begun(number: int, age: float = 0.0) -> TrialRecord:
    """Return a trial that has been running for `age` seconds."""
    started = datetime.now(UTC) - timedelta(seconds=age)
    return replace(trial(number, "RUNNING"), started=started)


def wait_for(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_trials_are_entered_in_the_order_of_their_numbers(
    study: Study, open_writer: Callable[..., RecordedWriter]
) -> None:
    recorded = open_writer()
    for number in range(8):
        recorded.trial_writer.put(begun(number))
    for number in (5, 2, 7, 1, 6, 4, 3, 0):
        recorded.trial_writer.put(trial(number))
    recorded.trial_writer.flush()
    assert study.trials() == [trial(number) for number in range(8)]
    assert [record.number for record in recorded.entered] == list(range(8))


def test_a_trial_that_ends_within_a_second_is_written_once(
    study: Study, open_writer: Callable[..., RecordedWriter]
) -> None:
    recorded = open_writer()
    for number in range(5):
        running, ended = begun(number), trial(number, ("COMPLETE", "PRUNED", "FAIL")[number % 3])
        recorded.trial_writer.put(running)
        recorded.trial_writer.put(replace(running, scores={16: 50.0}))
        recorded.trial_writer.put(replace(ended, started=running.started, ended=running.started))
    recorded.trial_writer.flush()
    assert [len(recorded.states(number)) for number in range(5)] == [1] * 5
    assert study.trials() == recorded.entered


def test_a_longer_trial_is_visible_while_it_runs(
    study: Study, book: StudyBook, open_writer: Callable[..., RecordedWriter]
) -> None:
    recorded, running = open_writer(), begun(0)
    elsewhere = StudyBook(book.url)

    def read() -> list[TrialRecord]:
        return elsewhere.open("houses").trials()

    recorded.trial_writer.put(running)
    wait_for(lambda: read() == [running])
    assert datetime.now(UTC) - (running.started or datetime.now(UTC)) >= timedelta(seconds=1)
    scored = replace(running, scores={16: 51.0})
    recorded.trial_writer.put(scored)
    recorded.trial_writer.flush()
    assert read() == [scored]
    ended = replace(trial(0), started=running.started)
    recorded.trial_writer.put(ended)
    recorded.trial_writer.flush()
    (now,) = read()
    assert (now.state, now.scores, now.value) == ("COMPLETE", ended.scores, ended.value)
    assert recorded.entered == [running, scored, now]
    close_book(elsewhere)


def test_later_trials_wait_for_an_earlier_one_that_has_just_begun(
    study: Study, open_writer: Callable[..., RecordedWriter]
) -> None:
    recorded, running = open_writer(), begun(0)
    recorded.trial_writer.put(running)
    recorded.trial_writer.put(trial(1))
    recorded.trial_writer.flush()
    assert study.trials() == [running, trial(1)]


def test_a_trial_that_an_earlier_process_left_running_is_ended(
    study: Study, open_writer: Callable[..., RecordedWriter]
) -> None:
    running = replace(begun(0), scores={16: 51.0})
    study.enter_trial(running, SPACE)
    recorded = open_writer()
    lost = replace(running, state="FAIL", reason="interrupted", interrupted=True)
    recorded.trial_writer.put(lost)
    recorded.trial_writer.put(trial(1))
    recorded.trial_writer.flush()
    first, second = study.trials()
    assert replace(first, ended=None) == lost
    assert second == trial(1)


def test_a_lost_lease_is_raised_by_put_and_flush_and_nothing_is_written(
    study: Study, open_writer: Callable[..., RecordedWriter]
) -> None:
    lost = threading.Event()

    def check() -> None:
        if lost.is_set():
            raise LeaseLostError("the lease was lost")

    recorded = open_writer(check=check)
    recorded.trial_writer.put(trial(0))
    recorded.trial_writer.flush()
    lost.set()
    recorded.trial_writer.put(trial(1))
    for _ in range(2):
        with pytest.raises(LeaseLostError, match="the lease was lost"):
            recorded.trial_writer.flush()
        with pytest.raises(LeaseLostError, match="the lease was lost"):
            recorded.trial_writer.put(trial(2))
    lost.clear()
    recorded.trial_writer.close()
    assert study.trials() == recorded.entered == [trial(0)]


def test_a_trial_that_another_process_wrote_raises_lease_lost(
    study: Study, open_writer: Callable[..., RecordedWriter]
) -> None:
    recorded = open_writer()
    recorded.trial_writer.put(trial(0))
    recorded.trial_writer.flush()
    study.enter_trial(trial(1), SPACE)
    recorded.trial_writer.put(trial(1))
    with pytest.raises(LeaseLostError, match="somebody else wrote trial 1"):
        recorded.trial_writer.flush()


def test_a_trial_that_another_process_ended_raises_lease_lost(
    study: Study, open_writer: Callable[..., RecordedWriter]
) -> None:
    recorded, running = open_writer(), begun(0, age=2.0)
    recorded.trial_writer.put(running)
    recorded.trial_writer.flush()
    theirs = study.end_trial(replace(trial(0, "FAIL"), started=running.started))
    recorded.trial_writer.put(replace(running, scores={16: 51.0}))
    with pytest.raises(LeaseLostError, match="somebody else wrote trial 0"):
        recorded.trial_writer.flush()
    assert study.trials() == [theirs]


def test_put_blocks_while_the_queue_is_full(
    study: Study, open_writer: Callable[..., RecordedWriter]
) -> None:
    may_write, queued = threading.Event(), [0]
    recorded = open_writer(check=lambda: may_write.wait(PATIENCE) and None, most_waiting=3)

    def put_all() -> None:
        for number in range(6):
            recorded.trial_writer.put(trial(number))
            queued[0] += 1

    search = threading.Thread(target=put_all)
    search.start()
    wait_for(lambda: queued[0] == 4)  # one is being written and three are queued
    search.join(0.2)
    assert search.is_alive()
    assert queued[0] == 4
    may_write.set()
    search.join(PATIENCE)
    assert not search.is_alive()
    recorded.trial_writer.flush()
    assert [t.number for t in study.trials()] == list(range(6))


def test_closing_writes_ended_trials_and_ends_the_thread(
    study: Study, open_writer: Callable[..., RecordedWriter]
) -> None:
    recorded = open_writer()
    for number in range(5):
        recorded.trial_writer.put(trial(number))
    recorded.trial_writer.put(begun(5, age=-3600.0))  # has just begun, however slow the machine is
    recorded.trial_writer.close()
    recorded.trial_writer.close()
    assert study.trials() == [trial(number) for number in range(5)]
    recorded.trial_writer.put(trial(5))
    assert not recorded.trial_writer._thread.is_alive()
    assert len(study.trials()) == 5


def test_closing_writes_ended_trials_behind_a_trial_that_has_just_begun(
    study: Study, open_writer: Callable[..., RecordedWriter]
) -> None:
    recorded = open_writer()
    recorded.trial_writer.put(begun(0))
    for number in range(1, 4):
        recorded.trial_writer.put(trial(number))
    recorded.trial_writer.close()
    assert [t.state for t in study.trials()] == ["RUNNING", "COMPLETE", "COMPLETE", "COMPLETE"]


def test_closing_does_not_wait_for_a_failing_database(
    open_writer: Callable[..., RecordedWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()

    def fail(*_: Any) -> None:
        failed.set()
        raise StorageInternalError("server closed the connection unexpectedly")

    monkeypatch.setattr(Study, "enter_trial", fail)
    recorded = open_writer()
    recorded.trial_writer.put(trial(0))
    assert failed.wait(PATIENCE)
    recorded.trial_writer.close()
    with pytest.raises(DatabaseError, match="server closed the connection unexpectedly"):
        recorded.trial_writer.flush()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the SQLite database as another writer would."""
    writer = sqlite3.connect(folder / "optuna.db", isolation_level=None)
    writer.execute("begin exclusive")
    try:
        yield
    finally:
        writer.execute("rollback")
        writer.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the timeout for locks."""
    monkeypatch.setattr(database, "_LOCK_TIMEOUT", 0.05)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_writes_to_a_locked_database_are_retried_and_applied_once(
    study: Study, open_writer: Callable[..., RecordedWriter], tmp_path: Path
) -> None:
    attempts: list[float] = []
    recorded = open_writer(check=lambda: attempts.append(time.monotonic()))
    running = begun(0, age=2.0)
    recorded.trial_writer.put(running)
    recorded.trial_writer.flush()
    attempts.clear()
    with locked(tmp_path):
        recorded.trial_writer.put(replace(trial(0), started=running.started))
        recorded.trial_writer.put(trial(1))
        wait_for(lambda: len(attempts) >= 3)
        assert study.trials() == [running]
    recorded.trial_writer.put(trial(2))
    recorded.trial_writer.flush()
    first, *others = study.trials()
    assert (first.state, first.value, first.steps) == ("COMPLETE", 50.0, 64)
    assert others == [trial(1), trial(2)]
    assert [len(recorded.states(number)) for number in range(3)] == [2, 1, 1]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_new_trial_is_written_once_when_the_lock_is_released(
    study: Study, open_writer: Callable[..., RecordedWriter], tmp_path: Path
) -> None:
    begins = threading.Event()
    recorded = open_writer(check=begins.set)
    with locked(tmp_path):
        recorded.trial_writer.put(trial(0))
        assert begins.wait(PATIENCE)
        time.sleep(0.3)
        assert study.trials() == []
    recorded.trial_writer.flush()
    assert study.trials() == recorded.entered == [trial(0)]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_database_that_stays_locked_is_an_error_and_keeps_earlier_writes(
    study: Study,
    open_writer: Callable[..., RecordedWriter],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database, "_WRITE_TIMEOUT", 0.2)
    running = begun(0, age=2.0)
    study.enter_trial(running, SPACE)
    recorded = open_writer()
    with locked(tmp_path):
        recorded.trial_writer.put(replace(running, scores={16: 51.0}))
        with pytest.raises(
            DatabaseError, match=r"optuna\.db: database is locked.*continues"
        ) as said:
            recorded.trial_writer.flush()
    assert "\n" not in str(said.value)
    assert study.trials() == [running]


@pytest.mark.parametrize("lost", ["enter_trial", "report", "end_trial"])
def test_a_write_whose_response_is_lost_is_applied_once(
    lost: str,
    study: Study,
    open_writer: Callable[..., RecordedWriter],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write, broken = getattr(Study, lost), threading.Event()

    def write_and_lose_the_response(*arguments: Any) -> Any:
        answer = write(*arguments)
        if not broken.is_set():
            broken.set()
            raise StorageInternalError("server closed the connection unexpectedly")
        return answer

    monkeypatch.setattr(Study, lost, write_and_lose_the_response)
    recorded, running = open_writer(), begun(0, age=2.0)
    recorded.trial_writer.put(running)
    recorded.trial_writer.flush()
    recorded.trial_writer.put(replace(running, scores={16: 51.0}))
    recorded.trial_writer.flush()
    recorded.trial_writer.put(replace(trial(0), started=running.started))
    recorded.trial_writer.put(trial(1))
    recorded.trial_writer.flush()
    assert broken.is_set()
    first, second = study.trials()
    assert replace(first, ended=trial(0).ended) == replace(trial(0), started=running.started)
    assert second == trial(1)
    assert recorded.entered[-2:] == [first, second]


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_closed_database_connections_are_reopened(
    study: Study, book: StudyBook, open_writer: Callable[..., RecordedWriter]
) -> None:
    from sqlalchemy import create_engine, text

    recorded = open_writer()
    recorded.trial_writer.put(trial(0))
    recorded.trial_writer.flush()
    others = "select pg_terminate_backend(pid) from pg_stat_activity where pid != pg_backend_pid()"
    engine = create_engine(database_of(book))
    with engine.connect() as connection:
        connection.execute(text(f"{others} and datname = current_database()"))
    engine.dispose()
    recorded.trial_writer.put(trial(1))
    recorded.trial_writer.flush()
    assert study.trials() == [trial(0), trial(1)]


def test_optuna_loads_the_written_trials(
    study: Study, book: StudyBook, open_writer: Callable[..., RecordedWriter]
) -> None:
    recorded = open_writer()
    for number in range(3):
        recorded.trial_writer.put(trial(number))
    recorded.trial_writer.flush()
    found = optuna.load_study(study_name="houses", storage=database_of(book))
    assert [t.params for t in found.trials] == [trial(number).params for number in range(3)]
    assert found.best_trial.number == 2
    close(found._storage._backend)  # type: ignore[attr-defined]

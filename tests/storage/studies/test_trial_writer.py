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
from storage.studies import trial_writer as trial_writer_module
from storage.studies.study import Study, StudyBook
from storage.studies.trial_writer import TrialWriter

PATIENCE = 20.0


class Book:
    """A ledger, and all that it says it has entered."""

    def __init__(self, study: Study, check: Callable[[], None] = lambda: None) -> None:
        self.entered: list[TrialRecord] = []
        self.trial_writer = TrialWriter(study, SPACE, check, self.entered.append)

    def states(self, number: int) -> list[str]:
        return [record.state for record in self.entered if record.number == number]


@pytest.fixture
def open_book(study: Study) -> Iterator[Callable[..., Book]]:
    books: list[Book] = []

    def open_book(**options: Any) -> Book:
        books.append(Book(study, **options))
        return books[-1]

    yield open_book
    for book in books:
        book.trial_writer.close()


def begun(number: int, age: float = 0.0) -> TrialRecord:
    """A trial that runs for `age` seconds."""
    started = datetime.now(UTC) - timedelta(seconds=age)
    return replace(trial(number, "RUNNING"), started=started)


def wait_for(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_trials_are_entered_in_the_order_of_their_numbers(
    study: Study, open_book: Callable[..., Book]
) -> None:
    book = open_book()
    for number in range(8):
        book.trial_writer.put(begun(number))
    for number in (5, 2, 7, 1, 6, 4, 3, 0):
        book.trial_writer.put(trial(number))
    book.trial_writer.flush()
    assert study.trials() == [trial(number) for number in range(8)]
    assert [record.number for record in book.entered] == list(range(8))


def test_what_began_and_ended_in_a_moment_is_entered_once_and_whole(
    study: Study, open_book: Callable[..., Book]
) -> None:
    book = open_book()
    for number in range(5):
        running, ended = begun(number), trial(number, ("COMPLETE", "PRUNED", "FAIL")[number % 3])
        book.trial_writer.put(running)
        book.trial_writer.put(replace(running, scores={16: 50.0}))
        book.trial_writer.put(replace(ended, started=running.started, ended=running.started))
    book.trial_writer.flush()
    assert [len(book.states(number)) for number in range(5)] == [1] * 5
    assert study.trials() == book.entered


def test_a_longer_trial_is_seen_while_it_runs(
    study: Study, book: StudyBook, open_book: Callable[..., Book]
) -> None:
    entering, running = open_book(), begun(0)
    elsewhere = StudyBook(book.url)

    def read() -> list[TrialRecord]:
        return elsewhere.open("houses").trials()

    entering.trial_writer.put(running)
    wait_for(lambda: read() == [running])
    assert datetime.now(UTC) - (running.started or datetime.now(UTC)) >= timedelta(seconds=1)
    scored = replace(running, scores={16: 51.0})
    entering.trial_writer.put(scored)
    entering.trial_writer.flush()
    assert read() == [scored]
    ended = replace(trial(0), started=running.started)
    entering.trial_writer.put(ended)
    entering.trial_writer.flush()
    (now,) = read()
    assert (now.state, now.scores, now.value) == ("COMPLETE", ended.scores, ended.value)
    assert entering.entered == [running, scored, now]
    close_book(elsewhere)


def test_later_trials_wait_for_an_earlier_one_that_has_just_begun(
    study: Study, open_book: Callable[..., Book]
) -> None:
    book, running = open_book(), begun(0)
    book.trial_writer.put(running)
    book.trial_writer.put(trial(1))
    book.trial_writer.flush()
    assert study.trials() == [running, trial(1)]


def test_a_trial_that_an_earlier_process_left_running_is_ended(
    study: Study, open_book: Callable[..., Book]
) -> None:
    running = replace(begun(0), scores={16: 51.0})
    study.enter_trial(running, SPACE)
    book = open_book()
    lost = replace(running, state="FAIL", reason="interrupted", interrupted=True)
    book.trial_writer.put(lost)
    book.trial_writer.put(trial(1))
    book.trial_writer.flush()
    first, second = study.trials()
    assert replace(first, ended=None) == lost
    assert second == trial(1)


def test_who_may_no_longer_write_is_told_at_the_next_word_and_nothing_is_entered(
    study: Study, open_book: Callable[..., Book]
) -> None:
    lost = threading.Event()

    def check() -> None:
        if lost.is_set():
            raise LeaseLostError("the lease was lost")

    book = open_book(check=check)
    book.trial_writer.put(trial(0))
    book.trial_writer.flush()
    lost.set()
    book.trial_writer.put(trial(1))
    for _ in range(2):
        with pytest.raises(LeaseLostError, match="the lease was lost"):
            book.trial_writer.flush()
        with pytest.raises(LeaseLostError, match="the lease was lost"):
            book.trial_writer.put(trial(2))
    lost.clear()
    book.trial_writer.close()
    assert study.trials() == book.entered == [trial(0)]


def test_a_trial_that_somebody_else_wrote_in_between_is_a_lost_lease(
    study: Study, open_book: Callable[..., Book]
) -> None:
    book = open_book()
    book.trial_writer.put(trial(0))
    book.trial_writer.flush()
    study.enter_trial(trial(1), SPACE)
    book.trial_writer.put(trial(1))
    with pytest.raises(LeaseLostError, match="somebody else wrote trial 1"):
        book.trial_writer.flush()


def test_a_trial_that_somebody_else_ended_is_a_lost_lease(
    study: Study, open_book: Callable[..., Book]
) -> None:
    book, running = open_book(), begun(0, age=2.0)
    book.trial_writer.put(running)
    book.trial_writer.flush()
    theirs = study.end_trial(replace(trial(0, "FAIL"), started=running.started))
    book.trial_writer.put(replace(running, scores={16: 51.0}))
    with pytest.raises(LeaseLostError, match="somebody else wrote trial 0"):
        book.trial_writer.flush()
    assert study.trials() == [theirs]


def test_the_search_waits_when_too_much_is_waiting(
    study: Study, open_book: Callable[..., Book], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_writer_module, "_MOST_WAITING", 3)
    may_write = threading.Event()
    book = open_book(check=lambda: may_write.wait(PATIENCE) and None)
    for number in range(4):  # one is being written, three wait
        book.trial_writer.put(trial(number))
        wait_for(lambda: len(book.trial_writer._waiting) <= 3)
    search = threading.Thread(target=book.trial_writer.put, args=[trial(4)])
    search.start()
    search.join(0.2)
    assert search.is_alive()
    may_write.set()
    search.join(PATIENCE)
    assert not search.is_alive()
    book.trial_writer.flush()
    assert [t.number for t in study.trials()] == list(range(5))


def test_closing_enters_what_has_ended_and_ends_the_thread(
    study: Study, open_book: Callable[..., Book]
) -> None:
    book = open_book()
    for number in range(5):
        book.trial_writer.put(trial(number))
    book.trial_writer.put(begun(5))
    book.trial_writer.close()
    book.trial_writer.close()
    assert study.trials() == [trial(number) for number in range(5)]
    book.trial_writer.put(trial(5))
    assert not book.trial_writer._thread.is_alive()
    assert len(study.trials()) == 5


def test_closing_enters_what_has_ended_behind_one_that_has_just_begun(
    study: Study, open_book: Callable[..., Book]
) -> None:
    book = open_book()
    book.trial_writer.put(begun(0))
    for number in range(1, 4):
        book.trial_writer.put(trial(number))
    book.trial_writer.close()
    assert [t.state for t in study.trials()] == ["RUNNING", "COMPLETE", "COMPLETE", "COMPLETE"]


def test_closing_does_not_wait_for_a_database_that_stumbles(
    open_book: Callable[..., Book], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()

    def fail(*_: Any) -> None:
        failed.set()
        raise StorageInternalError("server closed the connection unexpectedly")

    monkeypatch.setattr(Study, "enter_trial", fail)
    book = open_book()
    book.trial_writer.put(trial(0))
    assert failed.wait(PATIENCE)
    book.trial_writer.close()
    with pytest.raises(DatabaseError, match="server closed the connection unexpectedly"):
        book.trial_writer.flush()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the SQLite database as another writer does."""
    writer = sqlite3.connect(folder / "optuna.db", isolation_level=None)
    writer.execute("begin exclusive")
    try:
        yield
    finally:
        writer.execute("rollback")
        writer.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up on a lock at once."""
    monkeypatch.setattr(database, "_LOCK_TIMEOUT", 0.05)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_database_that_is_locked_for_a_while_is_tried_again_and_written_once(
    study: Study, open_book: Callable[..., Book], tmp_path: Path
) -> None:
    attempts: list[float] = []
    book = open_book(check=lambda: attempts.append(time.monotonic()))
    running = begun(0, age=2.0)
    book.trial_writer.put(running)
    book.trial_writer.flush()
    attempts.clear()
    with locked(tmp_path):
        book.trial_writer.put(replace(trial(0), started=running.started))
        book.trial_writer.put(trial(1))
        wait_for(lambda: len(attempts) >= 3)
        assert study.trials() == [running]
    book.trial_writer.put(trial(2))
    book.trial_writer.flush()
    first, *others = study.trials()
    assert (first.state, first.value, first.steps) == ("COMPLETE", 50.0, 64)
    assert others == [trial(1), trial(2)]
    assert [len(book.states(number)) for number in range(3)] == [2, 1, 1]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_trial_that_is_new_while_the_database_is_locked_is_entered_once(
    study: Study, open_book: Callable[..., Book], tmp_path: Path
) -> None:
    begins = threading.Event()
    book = open_book(check=begins.set)
    with locked(tmp_path):
        book.trial_writer.put(trial(0))
        assert begins.wait(PATIENCE)
        time.sleep(0.3)
        assert study.trials() == []
    book.trial_writer.flush()
    assert study.trials() == book.entered == [trial(0)]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_database_that_stays_locked_is_an_error_that_says_what_is_safe(
    study: Study,
    open_book: Callable[..., Book],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database, "_WRITE_TIMEOUT", 0.2)
    running = begun(0, age=2.0)
    study.enter_trial(running, SPACE)
    book = open_book()
    with locked(tmp_path):
        book.trial_writer.put(replace(running, scores={16: 51.0}))
        with pytest.raises(DatabaseError, match=r"optuna\.db: database is locked.*goes on") as said:
            book.trial_writer.flush()
    assert "\n" not in str(said.value)
    assert study.trials() == [running]


@pytest.mark.parametrize("lost", ["enter_trial", "report", "end_trial"])
def test_a_write_whose_answer_is_lost_is_not_written_twice(
    lost: str,
    study: Study,
    open_book: Callable[..., Book],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write, broken = getattr(Study, lost), threading.Event()

    def write_and_lose_the_answer(*arguments: Any) -> Any:
        answer = write(*arguments)
        if not broken.is_set():
            broken.set()
            raise StorageInternalError("server closed the connection unexpectedly")
        return answer

    monkeypatch.setattr(Study, lost, write_and_lose_the_answer)
    book, running = open_book(), begun(0, age=2.0)
    book.trial_writer.put(running)
    book.trial_writer.flush()
    book.trial_writer.put(replace(running, scores={16: 51.0}))
    book.trial_writer.flush()
    book.trial_writer.put(replace(trial(0), started=running.started))
    book.trial_writer.put(trial(1))
    book.trial_writer.flush()
    assert broken.is_set()
    first, second = study.trials()
    assert replace(first, ended=trial(0).ended) == replace(trial(0), started=running.started)
    assert second == trial(1)
    assert book.entered[-2:] == [first, second]


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_connections_that_the_server_cuts_are_made_again(
    study: Study, book: StudyBook, open_book: Callable[..., Book]
) -> None:
    from sqlalchemy import create_engine, text

    entering = open_book()
    entering.trial_writer.put(trial(0))
    entering.trial_writer.flush()
    others = "select pg_terminate_backend(pid) from pg_stat_activity where pid != pg_backend_pid()"
    engine = create_engine(database_of(book))
    with engine.connect() as connection:
        connection.execute(text(f"{others} and datname = current_database()"))
    engine.dispose()
    entering.trial_writer.put(trial(1))
    entering.trial_writer.flush()
    assert study.trials() == [trial(0), trial(1)]


def test_what_is_entered_is_what_optuna_finds(
    study: Study, book: StudyBook, open_book: Callable[..., Book]
) -> None:
    entering = open_book()
    for number in range(3):
        entering.trial_writer.put(trial(number))
    entering.trial_writer.flush()
    found = optuna.load_study(study_name="houses", storage=database_of(book))
    assert [t.params for t in found.trials] == [trial(number).params for number in range(3)]
    assert found.best_trial.number == 2
    close(found._storage._backend)  # type: ignore[attr-defined]

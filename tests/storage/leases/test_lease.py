import getpass
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from examples import SPACE, close_book, database_of, trial
from sqlalchemy import Connection, Engine, Table, create_engine, event, inspect, text

from storage import host
from storage.errors import DatabaseError, LeaseLostError, StudyBusyError
from storage.host import this_host
from storage.leases import lease
from storage.leases import store as leases_module
from storage.leases.lease import Lease
from storage.leases.store import DURATION, LeaseRecord, Leases
from storage.studies.study import StudyAttributes, StudyBook


@pytest.fixture
def leases(book: StudyBook) -> Leases:
    return book.leases


@pytest.fixture
def other_book(book: StudyBook) -> Iterator[StudyBook]:
    """Open the same database as another process would."""
    other = StudyBook(book.url, create=True)
    yield other
    close_book(other)


@pytest.fixture
def others(other_book: StudyBook) -> Leases:
    return other_book.leases


@pytest.fixture
def engine(book: StudyBook) -> Iterator[Engine]:
    """Return an engine on the database itself, bypassing leases and the scheduler."""
    engine = create_engine(database_of(book))
    yield engine
    engine.dispose()


def set_columns(engine: Engine, assignments: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"update grovekeeper_lease set {assignments}"))  # noqa: S608


def sleep_past_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine's clock advance by the duration of a lease, as if it had slept."""
    clock = time.clock_gettime
    monkeypatch.setattr(time, "clock_gettime", lambda kind: clock(kind) + DURATION)


def found(leases: Leases) -> LeaseRecord:
    record = leases.read("houses")
    assert record is not None
    return record


def test_reading_a_lease_creates_no_table(leases: Leases, engine: Engine) -> None:
    assert leases.read("houses") is None
    assert not inspect(engine).has_table("grovekeeper_lease")
    with Lease(leases, "houses"):
        pass
    given_back = leases.read("houses")
    assert given_back is not None
    assert not given_back.alive


def test_the_lease_names_its_live_holder(leases: Leases) -> None:
    with Lease(leases, "houses") as held:
        held.check()
        holder = leases.read("houses")
        assert holder is not None
        assert holder.alive
        assert (holder.host, holder.pid) == (this_host(), os.getpid())
        assert 25 < holder.expires - holder.now <= 30
        assert leases.read("other") is None


def test_the_databases_clock_is_utc(leases: Leases) -> None:
    with Lease(leases, "houses"):
        holder = leases.read("houses")
        assert holder is not None
        assert abs(holder.now - time.time()) < 5


def test_a_second_coordinator_is_refused_with_the_name_of_the_holder(leases: Leases) -> None:
    with Lease(leases, "houses"):
        with pytest.raises(StudyBusyError, match=rf"process {os.getpid()}.*since"):
            Lease(leases, "houses").__enter__()
        with Lease(leases, "other"):
            pass


def test_an_expired_lease_is_taken_over_and_its_holder_notices(
    leases: Leases, others: Leases, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_EVERY", 0.05)
    with Lease(leases, "houses") as first:
        set_columns(engine, "host = 'elsewhere', expires = 1, epoch = epoch + 1")
        assert first._lost.wait(10)
        with pytest.raises(LeaseLostError, match="houses"):
            first.check()
        with Lease(others, "houses") as second:
            second.check()


def test_nothing_is_committed_under_a_lost_lease(
    book: StudyBook, other_book: StudyBook, engine: Engine
) -> None:
    study = book.make("houses", "minimize")
    with Lease(book.leases, "houses"):
        study.write(StudyAttributes(uid="in time"))
        set_columns(engine, "host = 'elsewhere', expires = 1")
        with Lease(other_book.leases, "houses"):
            with pytest.raises(LeaseLostError, match="houses"):
                study.write(StudyAttributes(uid="too late"))
            with pytest.raises(LeaseLostError, match="houses"):
                study.enter_trial(trial(0), SPACE)
            other_book.open("houses").write(StudyAttributes(stop=1))
    assert other_book.open("houses").uid == "in time"
    assert other_book.open("houses").trials() == []


@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
def test_a_new_holder_waits_for_a_commit_in_progress(
    book: StudyBook, others: Leases, engine: Engine
) -> None:
    first = Lease(book.leases, "houses").__enter__()
    set_columns(engine, "expires = 1")
    order: list[str] = []

    def take_over() -> None:
        with Lease(others, "houses"):
            order.append("taken")

    taker = threading.Thread(target=take_over)

    def commit_slowly(_: Connection) -> None:
        if not order:
            order.append("committing")
            taker.start()
            time.sleep(0.5)
            order.append("committed")

    event.listen(book.rdb.engine, "commit", commit_slowly)
    with book.rdb.engine.begin() as connection:
        connection.execute(text("update grovekeeper_lease set owner = owner"))
    taker.join()
    assert order == ["committing", "committed", "taken"]
    first.__exit__(None, None, None)


def test_a_process_frozen_past_its_lease_checks_the_database(
    leases: Leases, others: Leases, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Lease(leases, "houses") as held:
        set_columns(engine, "host = 'elsewhere', owner = 'ann', epoch = epoch + 1")
        held.check()  # the lease has not expired yet, so the database is not read
        sleep_past_the_lease(monkeypatch)
        with pytest.raises(LeaseLostError):
            held.check()


def test_nothing_is_written_if_the_lease_cannot_be_renewed(
    leases: Leases, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(table: str, name: str) -> None:
        with engine.begin() as connection:
            connection.execute(text(f"alter table {table} rename to {name}"))

    with Lease(leases, "houses") as held:
        sleep_past_the_lease(monkeypatch)
        rename("grovekeeper_lease", "renamed")
        with pytest.raises(DatabaseError, match=r"houses does not answer: .*grovekeeper_lease"):
            held.check()
        rename("renamed", "grovekeeper_lease")
        held.check()


def test_a_frozen_process_that_was_not_replaced_renews_its_lease(
    leases: Leases, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Lease(leases, "houses") as held:
        set_columns(engine, "expires = 1")
        sleep_past_the_lease(monkeypatch)
        held.check()
        renewed = found(leases)
        assert renewed.expires - renewed.now > DURATION - 5
        set_columns(engine, "host = 'elsewhere', owner = 'ann', epoch = epoch + 1")
        held.check()  # the renewed lease has not expired, so the database is not read again


def test_a_former_holder_does_not_release_the_lease_of_another(
    leases: Leases, others: Leases, engine: Engine
) -> None:
    with Lease(leases, "houses"):
        set_columns(engine, "host = 'elsewhere', owner = 'ann', epoch = epoch + 1")
    holder = leases.read("houses")
    assert holder is not None
    assert holder.owner == "ann"


def test_a_dead_process_on_this_host_loses_its_lease_at_once(
    leases: Leases, engine: Engine
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with Lease(leases, "houses"):
        pass
    set_columns(
        engine,
        f"host = '{this_host()}', pid = {ended.pid}, owner = 'ann', expires = 1e12",
    )
    holder = leases.read("houses")
    assert holder is not None
    assert not holder.alive
    with Lease(leases, "houses") as held:
        held.check()


def test_a_zombie_process_is_dead(leases: Leases, engine: Engine) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=-1
    ) as child:
        with Lease(leases, "houses"):
            pass
        place = f"host = '{this_host()}', pid = {child.pid}"
        set_columns(engine, f"{place}, owner = 'ann', expires = 1e12")
        holder = leases.read("houses")
        assert holder is not None
        assert holder.alive
        child.kill()
        deadline = time.monotonic() + 10
        while holder.alive:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_process_ids_of_other_containers_are_not_looked_up(
    leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Lease(leases, "houses"):
        monkeypatch.setattr(leases_module, "process_exists", lambda _pid: False)
        assert not found(leases).alive
        monkeypatch.setattr(host, "_INITIAL_NAMESPACE", -1)
        assert this_host().startswith(f"{socket.gethostname()}/")
        assert found(leases).alive


def test_a_user_without_a_name_is_shown_as_a_user_id(
    leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", fail)
    with Lease(leases, "houses"):
        assert found(leases).owner == str(os.getuid())


def test_two_processes_may_create_the_lease_table_at_the_same_time(
    leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Table.create

    def create_twice(table: Table, engine: Engine, checkfirst: bool) -> None:
        create(table, engine, checkfirst=checkfirst)
        create(table, engine, checkfirst=False)

    monkeypatch.setattr(Table, "create", create_twice)
    with Lease(leases, "houses") as held:
        held.check()


def test_a_live_lease_of_another_host_is_respected(leases: Leases, engine: Engine) -> None:
    with Lease(leases, "houses"):
        pass
    set_columns(engine, "host = 'elsewhere', pid = 1, owner = 'ann', expires = 1e12")
    with pytest.raises(StudyBusyError, match="ann on elsewhere"):
        Lease(leases, "houses").__enter__()


def test_a_held_lease_is_renewed(leases: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_EVERY", 0.05)
    with Lease(leases, "houses"):
        before = leases.read("houses")
        assert before is not None
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            after = leases.read("houses")
            assert after is not None
            if after.expires > before.expires:
                return
            time.sleep(0.02)
    pytest.fail("the lease was not renewed")


def test_a_lease_taken_between_reading_and_taking_is_kept(
    leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Lease(leases, "houses")
    kind = type(leases)
    look = kind.read

    def look_then_lose(self: Any, study: str) -> LeaseRecord | None:
        seen = look(self, study)
        monkeypatch.setattr(kind, "read", look)
        first.__enter__()
        return seen

    monkeypatch.setattr(kind, "read", look_then_lose)
    with pytest.raises(StudyBusyError, match="just been taken"):
        Lease(leases, "houses").__enter__()
    first.check()
    first.__exit__(None, None, None)


def test_a_process_that_released_its_lease_must_not_write(leases: Leases) -> None:
    with Lease(leases, "houses") as held:
        held.check()
    with pytest.raises(LeaseLostError):
        held.check()

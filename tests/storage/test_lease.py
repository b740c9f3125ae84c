import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from examples import SPACE, close, trial
from sqlalchemy import Engine, text

from storage import lease
from storage.errors import LeaseLostError, StudyBusyError
from storage.lease import Lease
from storage.studies import StudyBook


@pytest.fixture
def engine(book: StudyBook) -> Engine:
    engine: Engine = book.rdb.engine
    return engine


@pytest.fixture
def other_book(book: StudyBook) -> Iterator[StudyBook]:
    """The same database as another process has it."""
    other = StudyBook(book.url, create=True)
    yield other
    close(other.rdb)


@pytest.fixture
def other_engine(other_book: StudyBook) -> Engine:
    engine: Engine = other_book.rdb.engine
    return engine


def set_columns(engine: Engine, assignments: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"update grovekeeper_lease set {assignments}"))  # noqa: S608


def test_reading_makes_no_table(engine: Engine) -> None:
    assert lease.read(engine, "houses") is None
    with Lease(engine, "houses"):
        pass
    assert lease.read(engine, "houses") is None


def test_the_holder_is_known_while_it_holds(engine: Engine) -> None:
    with Lease(engine, "houses") as held:
        held.check()
        holder = lease.read(engine, "houses")
        assert holder is not None
        assert holder.alive
        assert (holder.host, holder.pid) == (socket.gethostname(), os.getpid())
        assert 25 < holder.expires - holder.now <= 30
        assert lease.read(engine, "other") is None


def test_the_databases_clock_is_utc(engine: Engine) -> None:
    with Lease(engine, "houses"):
        holder = lease.read(engine, "houses")
        assert holder is not None
        assert abs(holder.now - time.time()) < 5


def test_a_second_coordinator_is_refused_and_told_who_runs_it(engine: Engine) -> None:
    with Lease(engine, "houses"):
        with pytest.raises(StudyBusyError, match=rf"process {os.getpid()}.*since"):
            Lease(engine, "houses").__enter__()
        with Lease(engine, "other"):
            pass


def test_an_expired_lease_is_taken_over_and_its_holder_notices(
    engine: Engine, other_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_EVERY", 0.05)
    with Lease(engine, "houses") as first:
        set_columns(other_engine, "host = 'elsewhere', expires = 1, epoch = epoch + 1")
        assert first._lost.wait(10)
        with pytest.raises(LeaseLostError, match="houses"):
            first.check()
        with Lease(other_engine, "houses") as second:
            second.check()


def test_nothing_is_committed_under_a_lost_lease(
    book: StudyBook, other_book: StudyBook, other_engine: Engine
) -> None:
    study = book.make("houses", "minimize")
    with Lease(book.rdb.engine, "houses"):
        study.put("said", "in time")
        set_columns(other_engine, "host = 'elsewhere', owner = 'ann', epoch = epoch + 1")
        with pytest.raises(LeaseLostError, match="houses"):
            study.put("said", "too late")
        with pytest.raises(LeaseLostError, match="houses"):
            study.enter_trial(trial(0), SPACE)
    assert other_book.open("houses").get("said") == "in time"
    assert study.trials() == []


def test_what_is_being_committed_keeps_a_new_holder_waiting(
    engine: Engine, other_engine: Engine
) -> None:
    first = Lease(engine, "houses").__enter__()
    set_columns(other_engine, "expires = 1")
    order: list[str] = []

    def take_over() -> None:
        with Lease(other_engine, "houses"):
            order.append("taken")

    taker = threading.Thread(target=take_over)
    with engine.begin() as connection:
        connection.execute(text("update grovekeeper_lease set owner = owner"))
        first._fence(connection)
        taker.start()
        time.sleep(0.5)
        order.append("committed")
    taker.join()
    assert order == ["committed", "taken"]
    first.__exit__(None, None, None)


def test_who_was_frozen_past_its_lease_asks_before_it_goes_on(
    engine: Engine, other_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Lease(engine, "houses") as held:
        set_columns(other_engine, "host = 'elsewhere', owner = 'ann', epoch = epoch + 1")
        held.check()  # it cannot know yet, and need not: the lease has not run out
        monkeypatch.setattr(lease, "_clock", lambda: held._good_until)
        with pytest.raises(LeaseLostError):
            held.check()


def test_who_was_frozen_and_not_replaced_goes_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Lease(engine, "houses") as held:
        ended = held._good_until
        monkeypatch.setattr(lease, "_clock", lambda: ended)
        held.check()
        assert held._good_until == ended + lease.DURATION


def test_a_lost_holder_does_not_give_back_what_another_holds(
    engine: Engine, other_engine: Engine
) -> None:
    with Lease(engine, "houses"):
        set_columns(other_engine, "host = 'elsewhere', owner = 'ann', epoch = epoch + 1")
    holder = lease.read(engine, "houses")
    assert holder is not None
    assert holder.owner == "ann"


def test_a_dead_process_on_this_host_loses_its_lease_at_once(engine: Engine) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with Lease(engine, "houses"):
        pass
    set_columns(
        engine,
        f"host = '{socket.gethostname()}', pid = {ended.pid}, owner = 'ann', expires = 1e12",
    )
    holder = lease.read(engine, "houses")
    assert holder is not None
    assert not holder.alive
    with Lease(engine, "houses") as held:
        held.check()


def test_a_process_that_only_waits_to_be_buried_is_dead(engine: Engine) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=-1
    ) as child:
        with Lease(engine, "houses"):
            pass
        place = f"host = '{socket.gethostname()}', pid = {child.pid}"
        set_columns(engine, f"{place}, owner = 'ann', expires = 1e12")
        holder = lease.read(engine, "houses")
        assert holder is not None
        assert holder.alive
        child.kill()
        deadline = time.monotonic() + 10
        while holder.alive:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_living_lease_of_another_host_is_respected(engine: Engine) -> None:
    with Lease(engine, "houses"):
        pass
    set_columns(engine, "host = 'elsewhere', pid = 1, owner = 'ann', expires = 1e12")
    with pytest.raises(StudyBusyError, match="ann on elsewhere"):
        Lease(engine, "houses").__enter__()


def test_it_is_renewed_while_it_is_held(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_EVERY", 0.05)
    with Lease(engine, "houses"):
        before = lease.read(engine, "houses")
        assert before is not None
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            after = lease.read(engine, "houses")
            assert after is not None
            if after.expires > before.expires:
                return
            time.sleep(0.02)
    pytest.fail("the lease was not renewed")


def test_who_takes_it_between_looking_and_taking_keeps_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Lease(engine, "houses")
    look = lease._row

    def look_then_lose(engine: Engine, study: str) -> lease.LeaseRecord | None:
        seen = look(engine, study)
        monkeypatch.setattr(lease, "_row", look)
        first.__enter__()
        return seen

    monkeypatch.setattr(lease, "_row", look_then_lose)
    with pytest.raises(StudyBusyError, match="just been taken"):
        Lease(engine, "houses").__enter__()
    first.check()
    first.__exit__(None, None, None)

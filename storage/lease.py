"""The lease that makes one process a study's coordinator, kept beside the study in its database.

Taken and renewed by compare-and-swap on the database's clock, so that hosts need not agree on the
time. The epoch grows with every holder: whoever finds another epoch in the row has lost the lease.
It also fences: while a lease is held, nothing is committed on its engine under another epoch, so
that a process which was frozen past its lease writes nothing more, wherever it was frozen.
"""

import getpass
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from storage.errors import LeaseLostError, StudyBusyError

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Engine, Table

DURATION = 30.0
RENEW_EVERY = 5.0


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """Who coordinates a study; times in seconds since the epoch, on the database's clock."""

    owner: str
    host: str
    pid: int
    epoch: int
    acquired: float
    expires: float
    now: float

    @property
    def alive(self) -> bool:
        """Whether the lease has not expired and its process, where it is on this host, exists."""
        if self.expires <= self.now:
            return False
        return self.host != socket.gethostname() or _process_exists(self.pid)


def _process_exists(pid: int) -> bool:
    """Whether a process of this host lives; one that only waits to be buried does not."""
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _clock() -> float:
    """Seconds that also pass while the machine sleeps, where the system counts them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _table() -> "Table":
    from sqlalchemy import Column, Float, Integer, MetaData, String, Table

    return Table(
        "grovekeeper_lease",
        MetaData(),
        Column("study", String(100), primary_key=True),
        Column("owner", String(255), nullable=False),
        Column("host", String(255), nullable=False),
        Column("pid", Integer, nullable=False),
        Column("epoch", Integer, nullable=False),
        Column("acquired", Float(53), nullable=False),
        Column("expires", Float(53), nullable=False),
    )


def _now(engine: "Engine") -> "ColumnElement[float]":
    """Seconds since 1970 on the database's clock."""
    from sqlalchemy import Float, literal_column

    clocks = {
        "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
        "postgresql": "extract(epoch from clock_timestamp())::float8",
    }
    clock = clocks.get(engine.dialect.name, "unix_timestamp(now(6))")
    return literal_column(clock, Float(53))


def read(engine: "Engine", study: str) -> LeaseRecord | None:
    """Return the study's lease, live or dead; ``None`` where nobody holds one. Writes nothing."""
    from sqlalchemy import inspect

    if not inspect(engine).has_table(_table().name):
        return None
    row = _row(engine, study)
    return row if row is not None and row.owner else None


def _row(engine: "Engine", study: str) -> LeaseRecord | None:
    from sqlalchemy import select

    table = _table()
    with engine.connect() as connection:
        query = select(table, _now(engine).label("now")).where(table.c.study == study)
        row = connection.execute(query).mappings().first()
    if row is None:
        return None
    return LeaseRecord(**{key: value for key, value in row.items() if key != "study"})


class Lease:
    """A held lease; a context manager that renews it in the background and gives it back.

    Raises
    ------
    StudyBusyError
        On entering, when a living coordinator holds the lease.
    LeaseLostError
        From `check`, and from every commit on the engine, once the lease is another's.
    """

    def __init__(self, engine: "Engine", study: str) -> None:
        self._engine = engine
        self._study = study
        self._epoch = 0
        # Until then, on this machine's clock, nobody else can have taken it.
        self._good_until = 0.0
        self._lost = threading.Event()
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    @property
    def epoch(self) -> int:
        """Which of the study's coordinators this one is; each has a greater number."""
        return self._epoch

    def __enter__(self) -> Self:
        from sqlalchemy import event

        self._acquire()
        event.listen(self._engine, "commit", self._fence)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        from sqlalchemy import event
        from sqlalchemy.exc import SQLAlchemyError

        self._released.set()
        self._thread.join()
        event.remove(self._engine, "commit", self._fence)
        # Where the database is gone the lease runs out by itself; what went wrong is told already.
        with suppress(SQLAlchemyError):
            self._update(owner="", expires=0.0)

    def check(self) -> None:
        """Make sure that the lease is held, before something is written elsewhere.

        Raises
        ------
        LeaseLostError
            When another coordinator has taken over.
        sqlalchemy.exc.SQLAlchemyError
            When it has run out and the database does not tell whether another has it.
        """
        if not self._lost.is_set() and _clock() >= self._good_until:
            self._renew()  # frozen, or cut off from the database: is it still ours?
        if self._lost.is_set():
            raise self._lost_error()

    def _lost_error(self) -> LeaseLostError:
        return LeaseLostError(
            f"study {self._study}: the lease was lost to another coordinator; "
            f"this one has stopped writing (see `grovekeeper show {self._study}`)"
        )

    def _fence(self, connection: "Connection") -> None:
        """Let nothing be committed that another coordinator does not know of.

        Asked inside the transaction: SQLite commits one writer at a time, elsewhere the lock on the
        row keeps a new holder waiting for the commit.
        """
        from sqlalchemy import select

        table = _table()
        epoch = select(table.c.epoch).where(table.c.study == self._study)
        if connection.execute(epoch.with_for_update(read=True)).scalar() != self._epoch:
            self._lost.set()
            raise self._lost_error()

    def _acquire(self) -> None:
        from sqlalchemy import insert
        from sqlalchemy.exc import IntegrityError

        table = _table()
        table.create(self._engine, checkfirst=True)
        empty = {"owner": "", "host": "", "pid": 0, "epoch": 0, "acquired": 0.0, "expires": 0.0}
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(table).values(study=self._study, **empty))
        except IntegrityError:
            pass  # the row is there from an earlier launch
        # Judged and swapped by one reading: who takes it in between has another epoch.
        holder = _row(self._engine, self._study)
        if holder is None:
            self._raise_overtaken()
        elif holder.owner and holder.alive:
            since = datetime.fromtimestamp(holder.acquired, UTC).astimezone()
            msg = (
                f"study {self._study} is run by {holder.owner} on {holder.host} "
                f"(process {holder.pid}) since {since:%Y-%m-%d %H:%M:%S}: watch it with "
                f"`grovekeeper show {self._study}`, end it with `grovekeeper stop {self._study}`"
            )
            raise StudyBusyError(msg)
        else:
            self._epoch = holder.epoch
        before, now = _clock(), _now(self._engine)
        taken = self._update(
            owner=getpass.getuser(),
            host=socket.gethostname(),
            pid=os.getpid(),
            epoch=self._epoch + 1,
            acquired=now,
            expires=now + DURATION,
        )
        if not taken:
            self._raise_overtaken()
        self._epoch += 1
        self._good_until = before + DURATION

    def _raise_overtaken(self) -> NoReturn:
        msg = f"study {self._study} has just been taken by another coordinator"
        raise StudyBusyError(msg)

    def _update(self, **values: Any) -> bool:
        """Write `values` if the row still has our epoch; return whether it had."""
        table = _table()
        ours = (table.c.study == self._study) & (table.c.epoch == self._epoch)
        with self._engine.begin() as connection:
            return connection.execute(table.update().where(ours).values(**values)).rowcount == 1

    def _keep(self) -> None:
        from sqlalchemy.exc import SQLAlchemyError

        while not self._released.wait(RENEW_EVERY) and not self._lost.is_set():
            # Where the database stumbles the lease still runs; once it has run out, `check` asks.
            with suppress(SQLAlchemyError):
                self._renew()

    def _renew(self) -> None:
        """Renew the lease, or find that it is lost; raise where the database does not tell."""
        before = _clock()
        try:
            renewed = self._update(expires=_now(self._engine) + DURATION)
        except LeaseLostError:  # by the fence
            return
        if renewed:
            self._good_until = before + DURATION
        else:
            self._lost.set()

"""The rows that leases are: one a study, in its database, on the database's clock."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from storage.host import process_exists, this_host

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Engine, Table

# Seconds from the last renewal until a lease runs out.
DURATION = 30.0


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """Who coordinates a study, or did; times in seconds since 1970, on the database's clock."""

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
        return self.host != this_host() or process_exists(self.pid)


@dataclass(frozen=True)
class Holder:
    """A process that takes a lease."""

    owner: str
    host: str
    pid: int


class Leases(Protocol):
    """The leases of a database. Whether a row was changed is decided by its epoch."""

    def read(self, study: str) -> LeaseRecord | None:
        """Return the study's lease, live, dead or given back; ``None`` where there was none."""

    def prepare(self, study: str) -> None:
        """Make the study's row where it is missing."""

    def take(self, study: str, epoch: int, holder: Holder) -> bool:
        """Give the lease to `holder`, whose epoch is the next; return whether `epoch` was right."""

    def renew(self, study: str, epoch: int) -> bool:
        """Have the lease run for its whole time from now; return whether `epoch` was right."""

    def release(self, study: str, epoch: int) -> None:
        """Give the lease back, if `epoch` is right."""

    def fence(
        self, study: str, epoch: int, lost: Callable[[], NoReturn]
    ) -> AbstractContextManager[None]:
        """Within the block, let nothing be written from here once the epoch is another.

        `lost`, called where something would be, raises `LeaseLostError`.
        """


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


class SqlLeases:
    """The leases of a database that this process has open."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def read(self, study: str) -> LeaseRecord | None:
        """See `Leases`. Writes nothing."""
        from sqlalchemy import inspect

        if not inspect(self._engine).has_table(_table().name):
            return None
        return self._row(study)

    def _row(self, study: str) -> LeaseRecord | None:
        from sqlalchemy import select

        table = _table()
        with self._engine.connect() as connection:
            now = _now(self._engine).label("now")
            row = connection.execute(select(table, now).where(table.c.study == study))
            found = row.mappings().first()
        if found is None:
            return None
        return LeaseRecord(**{key: value for key, value in found.items() if key != "study"})

    def prepare(self, study: str) -> None:
        """See `Leases`."""
        from sqlalchemy import insert, inspect
        from sqlalchemy.exc import IntegrityError, SQLAlchemyError

        table = _table()
        try:
            table.create(self._engine, checkfirst=True)
        except SQLAlchemyError:
            # Somebody else may have made it between the look and the making.
            if not inspect(self._engine).has_table(table.name):
                raise
        empty = {"owner": "", "host": "", "pid": 0, "epoch": 0, "acquired": 0.0, "expires": 0.0}
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(table).values(study=study, **empty))
        except IntegrityError:
            pass  # it is there from an earlier launch

    def take(self, study: str, epoch: int, holder: Holder) -> bool:
        """See `Leases`."""
        now = _now(self._engine)
        times = {"acquired": now, "expires": now + DURATION}
        return self._update(study, epoch, epoch=epoch + 1, **vars(holder), **times)

    def renew(self, study: str, epoch: int) -> bool:
        """See `Leases`."""
        return self._update(study, epoch, expires=_now(self._engine) + DURATION)

    def release(self, study: str, epoch: int) -> None:
        """See `Leases`."""
        self._update(study, epoch, owner="", expires=0.0)

    def _update(self, study: str, known: int, **values: Any) -> bool:
        """Write `values` if the row still has the epoch that is known; return whether it had."""
        table = _table()
        ours = (table.c.study == study) & (table.c.epoch == known)
        with self._engine.begin() as connection:
            return connection.execute(table.update().where(ours).values(**values)).rowcount == 1

    @contextmanager
    def fence(self, study: str, epoch: int, lost: Callable[[], NoReturn]) -> Iterator[None]:
        """See `Leases`.

        Asked inside each transaction before its commit: SQLite commits one writer at a time,
        elsewhere the lock on the row keeps a new holder waiting for the commit.
        """
        from sqlalchemy import event, select

        table = _table()
        query = select(table.c.epoch).where(table.c.study == study).with_for_update(read=True)

        def check(connection: "Connection") -> None:
            if connection.execute(query).scalar() != epoch:
                lost()

        event.listen(self._engine, "commit", check)
        try:
            yield
        finally:
            event.remove(self._engine, "commit", check)

"""Storage of leases: one row per study, in the study's database, timed by the database's clock."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from storage.host import process_exists, this_host

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Engine, Table

# Seconds from the last renewal until a lease expires.
DURATION = 30.0


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A study's current or last coordinator.

    Times are in seconds since 1970 on the database's clock.
    """

    owner: str
    host: str
    pid: int
    epoch: int
    acquired: float
    expires: float
    now: float

    @property
    def alive(self) -> bool:
        """Whether the lease has not expired and, if its process ran on this host, that exists."""
        if self.expires <= self.now:
            return False
        return self.host != this_host() or process_exists(self.pid)


@dataclass(frozen=True)
class Holder:
    """A process that acquires a lease."""

    owner: str
    host: str
    pid: int


class Leases(Protocol):
    """The leases of a database. Changes are conditional on the epoch (compare-and-swap)."""

    def read(self, study: str) -> LeaseRecord | None:
        """Return the study's lease: held, expired or released; ``None`` if it never had one."""

    def prepare(self, study: str) -> None:
        """Create the study's row if it is missing."""

    def take(self, study: str, epoch: int, holder: Holder) -> bool:
        """Give the lease to `holder` and increment the epoch, if the epoch still is `epoch`.

        Returns
        -------
        whether it was
        """

    def renew(self, study: str, epoch: int) -> bool:
        """Extend the lease to its full duration from now; return whether `epoch` is current."""

    def release(self, study: str, epoch: int) -> None:
        """Release the lease, if `epoch` is current."""

    def fence(
        self, study: str, epoch: int, lost: Callable[[], NoReturn]
    ) -> AbstractContextManager[None]:
        """Reject writes of this process within the block once the epoch has changed.

        A rejected write calls `lost`, which raises `LeaseLostError`.
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
    """Return an expression for the seconds since 1970 on the database's clock."""
    from sqlalchemy import Float, literal_column

    clocks = {
        "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
        "postgresql": "extract(epoch from clock_timestamp())::float8",
    }
    clock = clocks.get(engine.dialect.name, "unix_timestamp(now(6))")
    return literal_column(clock, Float(53))


class SqlLeases:
    """Leases in a SQL database, through SQLAlchemy."""

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
            # Another process may have created the table since `create` checked for it.
            if not inspect(self._engine).has_table(table.name):
                raise
        empty = {"owner": "", "host": "", "pid": 0, "epoch": 0, "acquired": 0.0, "expires": 0.0}
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(table).values(study=study, **empty))
        except IntegrityError:
            pass  # the row exists since an earlier launch

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
        """Write `values` if the row still has the epoch `known`; return whether it had."""
        table = _table()
        ours = (table.c.study == study) & (table.c.epoch == known)
        with self._engine.begin() as connection:
            return connection.execute(table.update().where(ours).values(**values)).rowcount == 1

    @contextmanager
    def fence(self, study: str, epoch: int, lost: Callable[[], NoReturn]) -> Iterator[None]:
        """See `Leases`.

        The epoch is read inside each transaction before its commit. SQLite commits one writer at a
        time; in other databases the lock on the row makes a new holder wait for the commit.
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

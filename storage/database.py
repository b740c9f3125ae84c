"""Check the addresses of databases, open Optuna's storage and retry writes to it."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from storage.addresses import StoreAddress
from storage.errors import DatabaseError, NotFoundError
from storage.redaction import cause_of
from storage.retry import retry

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from sqlalchemy import Engine

T = TypeVar("T")

# Writes are retried for this many seconds.
_WRITE_TIMEOUT = 60.0
# A statement waits this many seconds for the lock of another process.
_LOCK_TIMEOUT = 30.0
_LOCK_PAUSE = 0.02
_RACE_PAUSE = 0.3
# ANALYZE reads this many rows of each index. That takes milliseconds and is enough to tell rare
# values from frequent ones.
_ANALYZED_ROWS = 1000


class _WalConnection(sqlite3.Connection):
    """A connection with write-ahead logging: readers do not block it. It syncs at checkpoints."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._switch_to_wal()
        self.execute("PRAGMA synchronous=NORMAL").close()

    def _switch_to_wal(self) -> None:
        """Switch to write-ahead logging; wait for the lock because SQLite's timeout is ignored."""
        retry(
            lambda: self.execute("PRAGMA journal_mode=WAL").close(),
            (sqlite3.OperationalError,),
            timeout=_LOCK_TIMEOUT,
            first_pause=_LOCK_PAUSE,
            longest_pause=_LOCK_PAUSE,
            give_up=lambda error: getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY,
        )


def check_writable(url: str) -> None:
    """Raise `DatabaseError` if a SQLite file cannot be created or written. Writes nothing."""
    address = StoreAddress(url)
    path = address.sqlite_file
    if path is None:
        return
    if not path.parent.is_dir():
        raise DatabaseError(
            f"cannot open {address}: there is no folder {path.parent}; make it, or name another "
            "file"
        )
    if path.is_dir():
        raise DatabaseError(f"cannot open {address}: {path} is a folder; name a file in it")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        msg = f"cannot write {path}: no permission; name a file elsewhere"
        raise DatabaseError(msg)


def check_reachable(url: str, options: str) -> None:
    """Raise `DatabaseError` if a database server does not answer. Files are not checked.

    Parameters
    ----------
    options
        Option or variable that the address comes from, for the message.
    """
    if StoreAddress(url).is_sqlite:
        return
    with _engine(url, options) as engine:
        engine.connect().close()


def enable_wal(url: str) -> None:
    """Switch a SQLite file permanently to write-ahead logging, so that readers never wait."""
    path = StoreAddress(url).sqlite_file
    if path is not None:
        sqlite3.connect(path, factory=_WalConnection).close()


def analyze(url: str) -> None:
    """Update the statistics of SQLite's query planner; skip other databases and locked files.

    Without these statistics, MLflow takes 4 s instead of 0.1 s to list 10,000 runs by a metric.
    """
    path = StoreAddress(url).sqlite_file
    if path is None:
        return
    connect = sqlite3.connect(path, timeout=1.0)
    with closing(connect) as connection, suppress(sqlite3.OperationalError):
        connection.execute(f"PRAGMA analysis_limit={_ANALYZED_ROWS}")
        connection.execute("ANALYZE")


def _engine_kwargs(url: str) -> dict[str, Any]:
    if StoreAddress(url).is_sqlite:
        return {"connect_args": {"factory": _WalConnection, "timeout": _LOCK_TIMEOUT}}
    return {"pool_pre_ping": True}


@contextmanager
def _engine(url: str, options: str) -> "Iterator[Engine]":
    """Open an engine for the block and raise its errors as `DatabaseError`.

    Parameters
    ----------
    options
        Option or variable that the address comes from, for the message.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

    try:
        engine = create_engine(url, **_engine_kwargs(url))
        try:
            yield engine
        finally:
            engine.dispose()
    except (ImportError, NoSuchModuleError) as error:
        msg = f"cannot open {StoreAddress(url)}: {error}; install the driver that the address names"
        raise DatabaseError(msg) from error
    except SQLAlchemyError as error:
        cause = cause_of(error, url)
        raise DatabaseError(f"cannot open {StoreAddress(url)}: {cause}; check {options}") from error


def _inspect(url: str) -> tuple[set[str], bool]:
    """Return the names of the tables, and whether Optuna's tables are complete."""
    from sqlalchemy import inspect, text

    with _engine(url, "--storage or OPTUNA_STORAGE") as engine:
        tables = set(inspect(engine).get_table_names())
        ready = {"studies", "version_info", "alembic_version"} <= tables
        if ready:
            with engine.connect() as connection:
                version = text("select version_num from alembic_version")
                ready = connection.execute(version).first() is not None
        return tables, ready


def open_optuna(url: str, *, create: bool) -> "RDBStorage":
    """Open Optuna's database.

    Parameters
    ----------
    url
        A SQLAlchemy address.
    create
        Create the tables (and the SQLite file) if they are missing.

    Raises
    ------
    NotFoundError
        If the database does not exist and `create` is false.
    DatabaseError
        If it cannot be opened, holds other tables, or has the schema of another version.
    """
    address = StoreAddress(url)
    address.parse()
    path = address.sqlite_file
    missing = path is not None and not path.exists()
    if missing and not create:
        msg = (
            f"there is no study database {path} yet: start a study with `grovekeeper launch`, "
            "or name another with --storage"
        )
        raise NotFoundError(msg)
    if create:
        check_writable(url)
    tables, ready = (set[str](), False) if missing else _inspect(url)
    if "studies" not in tables and "experiments" in tables:
        msg = f"{address} holds MLflow's tables: Optuna needs a database of its own"
        raise DatabaseError(msg)
    if not ready and not create:
        raise NotFoundError(f"there are no studies in {address} yet")
    if not ready:
        _make_tables(url)
    return _open(url)


def retry_write(write: Callable[[], T], url: str, give_up: Callable[[], bool] = lambda: False) -> T:
    """Call `write` and return its result; retry while the database is locked, restarting or full.

    Parameters
    ----------
    url
        The database's address, for messages.
    give_up
        Returns whether to stop retrying at the next failure, because no caller waits any longer.

    Raises
    ------
    DatabaseError
        If the database does not recover within a minute.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    def describe(error: Exception) -> str:
        return f"cannot write to {StoreAddress(url)}: {cause_of(error.__cause__ or error, url)}"

    passing = (StorageInternalError, SQLAlchemyError, DatabaseError)
    try:
        return retry(
            write, passing, timeout=_WRITE_TIMEOUT, give_up=lambda _: give_up(), describe=describe
        )
    except (*passing, OSError) as error:  # OSError: the scheduler that served the database ended
        raise DatabaseError(
            f"{describe(error)}. What was written is safe: when the database works again, the same "
            "launch continues"
        ) from error


def open_in_memory() -> "RDBStorage":
    """Open an in-memory database; all threads of this process share its one connection."""
    from sqlalchemy import StaticPool

    return _open(
        "sqlite://",
        skip_table_creation=False,
        poolclass=StaticPool,
        connect_args={"check_same_thread": False},
    )


def _make_tables(url: str) -> None:
    """Create Optuna's tables; retry if another process creates them at the same time."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy import NullPool
    from sqlalchemy.exc import IntegrityError, OperationalError

    race = (IntegrityError, OperationalError, StorageInternalError, AssertionError)

    def make() -> None:
        # NullPool: a failed attempt must not leave a connection open.
        storage = _open(url, skip_table_creation=False, poolclass=NullPool)
        storage.remove_session()
        _keep_fractions(storage.engine)

    retry(
        make,
        (DatabaseError,),
        attempts=5,
        first_pause=_RACE_PAUSE,
        longest_pause=_RACE_PAUSE,
        give_up=lambda error: not isinstance(error.__cause__, race),
    )


def _keep_fractions(engine: "Engine") -> None:
    """Make MySQL and MariaDB store fractions of seconds, as other databases do."""
    from sqlalchemy import text

    if engine.dialect.name not in {"mysql", "mariadb"}:
        return
    with engine.begin() as connection:
        for column in ("datetime_start", "datetime_complete"):
            connection.execute(text(f"alter table trials modify {column} datetime(6)"))


def _open(url: str, *, skip_table_creation: bool = True, **engine_kwargs: Any) -> "RDBStorage":
    import optuna
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    address = StoreAddress(url)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.storages.RDBStorage(
            url,
            engine_kwargs=_engine_kwargs(url) | engine_kwargs,
            skip_table_creation=skip_table_creation,
        )
    except RuntimeError as error:  # raised by Optuna for the schema of another version
        msg = (
            f"{address} was made by another version of Optuna: back it up, then run "
            f"`optuna storage upgrade --storage {address}` ({optuna.__version__} is installed)"
        )
        raise DatabaseError(msg) from error
    except (StorageInternalError, SQLAlchemyError, AssertionError) as error:
        msg = f"cannot open {address}: {cause_of(error, url)}"
        raise DatabaseError(msg) from error

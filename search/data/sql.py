"""From a database to a table: one query, through SQLAlchemy, in a transaction that only reads."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID

from search.data.addresses import TableAddress
from search.data.limits import Bounds, bytes_in_pandas
from search.errors import DataError, SearchError
from storage.errors import driver_said

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from sqlalchemy import URL, Connection, Engine

_BATCH = 10_000
_DRIVERS = {
    "postgresql": "postgresql+psycopg://… with the package psycopg[binary]",
    "postgres": "postgresql+psycopg://… with the package psycopg[binary]",
    "mysql": "mysql+pymysql://… with the package pymysql",
    "mariadb": "mariadb+pymysql://… with the package pymysql",
}


def read_query(address: TableAddress, query: str, bounds: Bounds) -> "pd.DataFrame":
    """Read what a query gives. Nothing is changed: what writes is refused, and rolled back.

    Decimals become floats, dates and times pandas' own, NULLs missing values.

    Raises
    ------
    DataError
        When the database is not reached, the query fails, or its table is larger than it may be.
    """
    from sqlalchemy.exc import ResourceClosedError

    with _connected(address) as connection:
        run = connection.execution_options(stream_results=True, no_parameters=True)
        with run.exec_driver_sql(query) as result:
            try:
                names = list(result.keys())
            except ResourceClosedError:
                raise DataError("--query gives no table: it is to be a select") from None
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise DataError(f"two columns of --query are called '{twice}': rename one by `as`")
            return _frame(names, result.partitions(_BATCH), bounds)


@contextmanager
def _connected(address: TableAddress) -> "Iterator[Connection]":
    """Connect for a moment; tell what goes wrong in a line without the address's secrets."""
    from sqlalchemy.exc import NoSuchModuleError

    try:
        engine = _engine(address)
        try:
            with engine.connect() as connection:
                _only_read(connection)
                yield connection
        finally:
            engine.dispose()
    except SearchError:
        raise
    except (ImportError, NoSuchModuleError) as error:
        driver = _DRIVERS.get(address.dialect, "one that SQLAlchemy has a driver for")
        raise DataError(f"cannot open --data {address}: {error}; name {driver}") from None
    except Exception as error:  # a driver's own, not all of which SQLAlchemy makes its own
        said = address.redact_message(driver_said(error))
        hidden = (
            "; its password is not kept: name it in full with --data" if address.is_redacted else ""
        )
        raise DataError(f"cannot read --data {address} by --query: {said}{hidden}") from None


def _engine(address: TableAddress) -> "Engine":
    from sqlalchemy import NullPool, create_engine, make_url

    url = make_url(address.without_redacted)
    if url.get_backend_name() == "sqlite":
        return create_engine(url, poolclass=NullPool, creator=lambda: _open_sqlite(url))
    return create_engine(url, poolclass=NullPool)


def _open_sqlite(url: "URL") -> sqlite3.Connection:
    """Open a SQLite file to read; one that is missing is not made."""
    path = Path(url.database or "")
    if not path.is_file():
        raise DataError(f"--data {TableAddress(str(url))}: there is no database file {path}")
    connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)  # `attach` would make a file
    return connection


def _only_read(connection: "Connection") -> None:
    """Have the database refuse to write, where it knows how to; nothing is ever committed."""
    kind = connection.dialect.name
    if kind == "postgresql":
        connection.execution_options(postgresql_readonly=True)
    elif kind in {"mysql", "mariadb"}:
        connection.exec_driver_sql("set session transaction read only")
        connection.rollback()  # and with it the transaction that could still write


def _frame(names: list[str], parts: "Iterator[Sequence[Any]]", bounds: Bounds) -> "pd.DataFrame":
    import pyarrow as pa

    tables: list[pa.Table] = []
    rows = n_bytes = 0
    for part in parts:
        columns = [_column(values) for values in zip(*part, strict=True)]
        tables.append(pa.table(columns, names))
        rows += len(part)
        n_bytes += sum(map(bytes_in_pandas, columns))
        bounds.check(rows, n_bytes)
    if not tables:
        tables = [pa.table([pa.nulls(0)] * len(names), names)]
    frame: pd.DataFrame = _joined(tables).to_pandas(date_as_object=False)
    return frame


def _column(values: Sequence[Any]) -> "pa.Array":
    """Make a column of what a driver gives; of mixed values, as SQLite may hold, their texts."""
    import pyarrow as pa

    first = next((value for value in values if value is not None), None)
    if isinstance(first, Decimal):
        values = [None if value is None else float(value) for value in values]
    elif isinstance(first, UUID):
        return _text(values)
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return _text(values)


def _text(values: Sequence[Any]) -> "pa.Array":
    import pyarrow as pa

    return pa.array([None if value is None else str(value) for value in values], pa.string())


def _joined(tables: "list[pa.Table]") -> "pa.Table":
    """Put pieces together; a column of several types is of the one that holds them, or text."""
    import pyarrow as pa

    for place, name in enumerate(tables[0].column_names):
        schemas = [pa.schema([table.schema.field(place)]) for table in tables]
        try:
            pa.unify_schemas(schemas, promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            for k, table in enumerate(tables):
                plain = _text(table.column(place).to_pylist())
                tables[k] = table.set_column(place, name, plain)
    table = pa.concat_tables(tables, promote_options="permissive")
    for place, name in enumerate(table.column_names):
        if pa.types.is_null(table.schema.field(place).type):
            table = table.set_column(place, name, table.column(place).cast(pa.float64()))
    return table

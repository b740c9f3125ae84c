"""Reads the rows of one query from a database, through SQLAlchemy, in a read-only transaction."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID

from search.data.addresses import TableAddress
from search.data.limits import Limits, bytes_in_pandas
from search.errors import DataError, SearchError
from storage.errors import driver_said, short_line

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from sqlalchemy import URL, Connection, Engine

_BATCH_ROWS = 10_000
_DRIVERS = {
    "postgresql": "postgresql+psycopg://… with the package psycopg[binary]",
    "postgres": "postgresql+psycopg://… with the package psycopg[binary]",
    "mysql": "mysql+pymysql://… with the package pymysql",
    "mariadb": "mariadb+pymysql://… with the package pymysql",
}


def read_query(address: TableAddress, query: str, limits: Limits) -> "pd.DataFrame":
    """Read the rows of a query. A query that writes is refused or rolled back.

    Decimals become floats, dates and times pandas' types, and NULLs missing values.

    Raises
    ------
    DataError
        When the database cannot be opened, the query fails, or its table exceeds the limits.
    """
    from sqlalchemy.exc import ResourceClosedError

    with _connect(address) as connection:
        run = connection.execution_options(stream_results=True, no_parameters=True)
        with run.exec_driver_sql(query) as result:
            try:
                names = list(result.keys())
            except ResourceClosedError:
                raise DataError("--query returns no rows: give a select statement") from None
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise DataError(f"two columns of --query are called '{twice}': rename one by `as`")
            batches = (_to_arrow(names, rows) for rows in result.partitions(_BATCH_ROWS))
            table = _concat(names, limits.collect(batches, bytes_in_pandas))
            frame: pd.DataFrame = table.to_pandas(date_as_object=False)
            return frame


@contextmanager
def _connect(address: TableAddress) -> "Iterator[Connection]":
    """Open a connection; raise any failure as one line without the address's secrets."""
    from sqlalchemy.exc import NoSuchModuleError

    try:
        engine = _engine(address)
        try:
            with engine.connect() as connection:
                _make_read_only(connection)
                yield connection
        finally:
            engine.dispose()
    except SearchError:
        raise
    except (ImportError, NoSuchModuleError) as error:
        driver = _DRIVERS.get(address.dialect, "an address that SQLAlchemy has a driver for")
        raise DataError(f"cannot open --data {address}: {error}; give {driver}") from None
    except Exception as error:  # SQLAlchemy does not wrap every error of every driver
        said = short_line(address.redact_message(driver_said(error)))
        hint = ""
        if address.is_redacted:
            hint = "; its password was not stored: give the full address with --data"
        raise DataError(f"cannot read --data {address} with --query: {said}{hint}") from None


def _engine(address: TableAddress) -> "Engine":
    from sqlalchemy import NullPool, create_engine, make_url

    url = make_url(address.without_redacted)
    if url.get_backend_name() == "sqlite":
        return create_engine(url, poolclass=NullPool, creator=lambda: _open_sqlite(address, url))
    return create_engine(url, poolclass=NullPool)


def _open_sqlite(address: TableAddress, url: "URL") -> sqlite3.Connection:
    """Open a SQLite file to read; do not create one that is missing."""
    path = Path(url.database or "")
    if not path.is_file():
        raise DataError(f"--data {address}: there is no database file {path}")
    connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)  # `attach` would create a file
    return connection


def _make_read_only(connection: "Connection") -> None:
    """Let the database refuse to write, if it can. No transaction is ever committed."""
    dialect = connection.dialect.name
    if dialect == "postgresql":
        connection.execution_options(postgresql_readonly=True)
    elif dialect in {"mysql", "mariadb"}:
        connection.exec_driver_sql("set session transaction read only")
        connection.rollback()  # it applies from the next transaction on


def _to_arrow(names: list[str], rows: Sequence[Any]) -> "pa.Table":
    import pyarrow as pa

    return pa.table([_column(values) for values in zip(*rows, strict=True)], names)


def _column(values: Sequence[Any]) -> "pa.Array":
    """Convert a driver's values; SQLite may mix types in a column, which then becomes text."""
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


def _concat(names: list[str], tables: "list[pa.Table]") -> "pa.Table":
    """Concatenate batches. Types that differ are promoted to a common type, or else to text."""
    import pyarrow as pa

    if not tables:
        tables = [pa.table([pa.nulls(0)] * len(names), names)]
    for place, name in enumerate(names):
        schemas = [pa.schema([table.schema.field(place)]) for table in tables]
        try:
            pa.unify_schemas(schemas, promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            for k, table in enumerate(tables):
                as_text = _text(table.column(place).to_pylist())
                tables[k] = table.set_column(place, name, as_text)
    table = pa.concat_tables(tables, promote_options="permissive")
    for place, name in enumerate(names):
        if pa.types.is_null(table.schema.field(place).type):
            table = table.set_column(place, name, table.column(place).cast(pa.float64()))
    return table

"""Reads a table: from where it is to a frame of named columns; what cannot be read is one line."""

import gzip
import re
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from search.data.addresses import DIABETES, FRAME, STDIN, TableAddress
from search.data.delimited import read_delimited
from search.data.limits import Bounds
from search.data.parquet import MAGIC, read_folder, read_parquet
from search.data.sources import READABLE, ByteSource, find_source, is_readable_here
from search.data.sql import read_query
from search.errors import DataError, SearchError, UsageError
from storage.errors import first_line

if TYPE_CHECKING:
    import pandas as pd

_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_BLOCK = 1 << 20


def read_table(source: str, query: str | None = None, bounds: Bounds = Bounds()) -> "pd.DataFrame":
    """Read a table.

    Parameters
    ----------
    source
        A path; an address of a file or folder, as fsspec knows them, or of a database; ``-`` for
        standard input; or ``diabetes`` where no file has that name.
    query
        What is read from a database.

    Raises
    ------
    UsageError
        When a database has no query.
    DataError
        When there is no such table, it cannot be read, has no rows, or is past the bounds.
    """
    import pandas as pd

    address = TableAddress(source)
    if query is not None:
        table = read_query(address, query, bounds)
    elif address.is_database:
        raise UsageError(f"--data {address} is a database: say what to read with --query")
    else:
        table = _read_bytes(address, bounds)
    table.columns = pd.Index([str(name) for name in table.columns])
    if table.empty:
        raise DataError(f"--data {address} has no rows ({table.shape[1]} columns)")
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise DataError(f"two columns of --data {address} are called '{twice[0]}': rename one")
    return table


def _read_bytes(address: TableAddress, bounds: Bounds) -> "pd.DataFrame":
    if not is_readable_here(address):
        if address.full == FRAME:
            raise DataError("the study's table was in memory: write it to a file, and name it here")
        if address.full == STDIN:
            raise DataError(
                "the study's table came on standard input: pipe it again into --data -, or write "
                "it to a file and name that with --data"
            )
    if address.full == DIABETES and not Path(DIABETES).exists():
        return _diabetes()
    try:
        with closing(find_source(address)) as source:
            return _without_index(_read(source, address.file_name.lower(), bounds))
    except SearchError:
        raise
    except FileNotFoundError as error:
        cause = (
            f" ({address.redact_message(first_line(error.__cause__))})" if error.__cause__ else ""
        )
        raise DataError(f"--data {address} is not found{cause}: give {READABLE}") from None
    except MemoryError:
        raise DataError(
            f"--data {address} does not fit into memory: leave rows or columns out"
        ) from None
    except Exception as error:  # of many libraries, which a damaged file surprises
        reason = address.redact_message(_reason(error))
        # What comes from a secret address may tell it, in the traceback of --debug, too.
        raise DataError(f"cannot read --data {address}: {reason}") from (
            error if address.redacted == address.full else None
        )


def _reason(error: Exception) -> str:
    reason = first_line(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text; save it as UTF-8"
    if "No columns to parse" in reason:
        return f"it is empty: give {READABLE}"
    if found := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", reason):
        fields, line, saw = found.groups()
        return f"line {line} has {saw} fields, the lines before it {fields}"
    return reason


def _read(source: ByteSource, name: str, bounds: Bounds) -> "pd.DataFrame":
    """Tell by their first bytes what a file holds: its name may say nothing, or lie."""
    if source.files:
        return read_folder(source, bounds)
    with _opened(source) as stream:
        magic = stream.peek(len(MAGIC))[: len(MAGIC)]
        if magic == MAGIC:
            packed = isinstance(stream.raw, gzip.GzipFile)
            if source.system is None and stream.seekable() and not packed:
                return read_parquet(stream, bounds)
            with _copied(stream, bounds) as file:
                return read_parquet(file, bounds)
    if magic == _ZIP:
        raise ValueError("spreadsheets and archives are not read; export it as CSV")
    name = name.removesuffix(".gz")
    if name.endswith((".parquet", ".pq")):
        raise ValueError("it is no Parquet file")
    return read_delimited(lambda: _opened(source), name.endswith(".tsv"), bounds)


@contextmanager
def _opened(source: ByteSource) -> "Iterator[BufferedReader[Any]]":
    """Open a file's bytes, unpacked."""
    with source.open() as raw, BufferedReader(cast("RawIOBase", raw)) as stream:
        if stream.peek(len(_GZIP))[: len(_GZIP)] != _GZIP:
            yield stream
            return
        with gzip.GzipFile(fileobj=stream) as unpacked, BufferedReader(unpacked) as text:
            yield text


@contextmanager
def _copied(stream: "BufferedReader[Any]", bounds: Bounds) -> Iterator[BinaryIO]:
    """Copy bytes to a temporary file, which can be sought in."""
    with tempfile.TemporaryFile(prefix="grovekeeper-") as file:
        while block := stream.read(_BLOCK):
            file.write(block)
            bounds.check(0, file.tell())
        file.seek(0)
        yield file


def _without_index(table: "pd.DataFrame") -> "pd.DataFrame":
    """Make columns of what was taken for row labels: an unnamed first column, a Parquet index."""
    import pandas as pd

    numbered = table.index.name is None and table.index.equals(pd.RangeIndex(len(table)))
    return table if numbered else table.reset_index()


def _diabetes() -> "pd.DataFrame":
    from sklearn.datasets import load_diabetes

    frame: pd.DataFrame = load_diabetes(as_frame=True).frame
    return frame

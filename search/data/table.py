"""Reads a table from any address into a data frame; every failure is one line."""

import gzip
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from search.data import arrow, parquet
from search.data.addresses import DIABETES, FRAME, STDIN, TableAddress
from search.data.delimited import read_delimited
from search.data.frames import with_plain_types
from search.data.limits import Limits
from search.data.parquet import read_folder
from search.data.sources import READABLE, ByteSource, find_source, is_readable_here
from search.data.sql import read_query
from search.data.text_format import TextFormat
from search.errors import DataError, SearchError, UsageError
from storage.errors import first_line, short_line

if TYPE_CHECKING:
    import pandas as pd

_GZIP, _ZIP, _OLD_FEATHER = b"\x1f\x8b", b"PK\x03\x04", b"FEA1"
_JSON_LINES, _JSON_ARRAY = re.compile(rb'\s*\{\s*"'), re.compile(rb"\s*\[\s*[{\[]")
_START_BYTES = 100
_BLOCK = 1 << 20


def read_table(
    source: str,
    query: str | None = None,
    limits: Limits = Limits(),
    text: TextFormat = TextFormat(),
) -> "pd.DataFrame":
    """Read a table.

    Parameters
    ----------
    source
        A path; the address of a file or folder, as fsspec reads them, or of a database; ``-`` for
        standard input; ``diabetes`` for scikit-learn's data, unless a file has that name.
    query
        The select statement that reads it from a database.
    text
        How a CSV or TSV file is written.

    Raises
    ------
    UsageError
        When a database has no query.
    DataError
        When there is no such table, it cannot be read, has no rows, or exceeds the limits.
    """
    import pandas as pd

    address = TableAddress(source)
    if query is not None:
        table = read_query(address, query, limits)
    elif address.is_database:
        raise UsageError(f"--data {address} is a database: say what to read with --query")
    else:
        table = _read_bytes(address, limits, text)
    table.columns = pd.Index([str(name) for name in table.columns])
    if table.empty:
        raise DataError(f"--data {address} has no rows ({table.shape[1]} columns)")
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise DataError(f"two columns of --data {address} are called '{twice[0]}': rename one")
    return with_plain_types(table)


def _read_bytes(address: TableAddress, limits: Limits, text: TextFormat) -> "pd.DataFrame":
    if not is_readable_here(address):
        if address.full == FRAME:
            raise DataError(
                "the study's table was given in memory: write it to a file, and give its path with "
                "--data"
            )
        if address.full == STDIN:
            raise DataError(
                "the study's table came from standard input: pipe it again into --data -, or write "
                "it to a file and give its path with --data"
            )
    if address.full == DIABETES and not Path(DIABETES).exists():
        return _diabetes()
    try:
        with closing(find_source(address)) as source:
            return _with_index_as_column(_read(source, address.file_name.lower(), limits, text))
    except SearchError:
        raise
    except FileNotFoundError as error:
        said = first_line(error.__cause__) if error.__cause__ else ""
        cause = f" ({short_line(address.redact_message(said))})" if said else ""
        raise DataError(f"--data {address} is not found{cause}: give {READABLE}") from None
    except MemoryError:
        raise DataError(
            f"--data {address} does not fit into memory: leave rows or columns out"
        ) from None
    except Exception as error:  # a damaged file makes the libraries raise errors of many types
        reason = short_line(address.redact_message(_reason(error)))
        # The cause, which --debug prints, may quote the secrets.
        cause_shown = error if address.redacted == address.full else None
        raise DataError(f"cannot read --data {address}: {reason}") from cause_shown


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


def _read(source: ByteSource, name: str, limits: Limits, text: TextFormat) -> "pd.DataFrame":
    """Detect the format by the first bytes, as the file's name may be missing or wrong."""
    if source.files:
        return read_folder(source, limits)
    with _decompressed(source) as stream:
        start = stream.peek(_START_BYTES)[:_START_BYTES]
        if (reader := _binary_reader(start)) is not None:
            is_gzip = isinstance(stream.raw, gzip.GzipFile)
            if source.system is None and stream.seekable() and not is_gzip:
                return reader(stream, limits)
            with _temporary_copy(stream, limits) as file:
                return reader(file, limits)
    if start.startswith(_ZIP):
        raise ValueError("spreadsheets and archives are not read; export it as CSV")
    if start.startswith(_OLD_FEATHER):
        raise ValueError("Feather files of version 1 are not read; write it again as version 2")
    if _JSON_ARRAY.match(start):
        raise ValueError("it is a JSON array; write one object per line (JSON Lines)")
    name = name.removesuffix(".gz")
    if name.endswith((".parquet", ".pq")):
        raise ValueError("it is not a Parquet file")
    tabs = name.endswith(".tsv")
    return read_delimited(lambda: _decompressed(source), tabs, limits, text=text)


def _binary_reader(start: bytes) -> "Callable[[BinaryIO, Limits], pd.DataFrame] | None":
    """Return what reads a file that begins with these bytes; ``None`` for delimited text."""
    if start.startswith(parquet.MAGIC):
        return parquet.read_parquet
    if start.startswith(arrow.MAGIC):
        return arrow.read_feather
    return arrow.read_json_lines if _JSON_LINES.match(start) else None


@contextmanager
def _decompressed(source: ByteSource) -> "Iterator[BufferedReader[Any]]":
    """Open the bytes of a file, decompressed if they are gzip."""
    with source.open() as raw, BufferedReader(cast("RawIOBase", raw)) as stream:
        if stream.peek(len(_GZIP))[: len(_GZIP)] != _GZIP:
            yield stream
            return
        with gzip.GzipFile(fileobj=stream) as unpacked, BufferedReader(unpacked) as text:
            yield text


@contextmanager
def _temporary_copy(stream: "BufferedReader[Any]", limits: Limits) -> Iterator[BinaryIO]:
    """Copy a stream to a temporary file, which is seekable."""
    with tempfile.TemporaryFile(prefix="grovekeeper-") as file:
        while block := stream.read(_BLOCK):
            file.write(block)
            limits.check(0, file.tell())
        file.seek(0)
        yield file


def _with_index_as_column(table: "pd.DataFrame") -> "pd.DataFrame":
    """Turn the index into a column if it holds data: an unnamed first column, a Parquet index.

    An index that repeats a column is left out. One that only has its name gets another name.
    """
    import pandas as pd

    for name in table.index.names:
        if name is not None and name in table.columns:
            if np.array_equal(table.index.get_level_values(name), table[name]):
                table = table.reset_index(level=name, drop=True)
            else:
                table = table.rename_axis(index={name: f"{name} (index)"})
    is_default = table.index.name is None and table.index.equals(pd.RangeIndex(len(table)))
    return table if is_default else table.reset_index()


def _diabetes() -> "pd.DataFrame":
    from sklearn.datasets import load_diabetes

    frame: pd.DataFrame = load_diabetes(as_frame=True).frame
    return frame

"""From text to a table: CSV and TSV, read a piece at a time, so that no file takes all memory."""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any

from search.data.limits import Bounds
from search.formatting import size

if TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import Buffer

_LONGEST_HEADER = 16_000_000
_MOST_COLUMNS = 100_000
# Values that are read at once, and the bytes that each of them takes meanwhile.
_PIECE = 1_000_000
_PER_VALUE = 64
# The parser reads a quarter of a megabyte ahead, and each byte of it may end a field.
_LEAST_ROOM = 8_000_000
# Bytes that the parser keeps of a field, whatever stands in it.
_PER_FIELD = 16
_COMMA_NUMBER = r"\s*[+-]?\d*(?:,\d+)?(?:[eE][+-]?\d+)?\s*"
# Where rows have more fields than the header: columns of labels before the others.
_LABELS = "labels"
_MOST_LABELS = 20

Opener = Callable[[], AbstractContextManager["io.BufferedReader[Any]"]]


class _Text(io.RawIOBase):
    """A stream on its way to the parser: it may hold no NUL, and no piece without an end."""

    def __init__(self, stream: "io.BufferedReader[Any]", room: int) -> None:
        self._stream = stream
        self._room = max(room, _LEAST_ROOM)
        self.taken = 0
        # What divides fields, as soon as it is known.
        self.separator = b""
        self._ahead = io.BytesIO()
        self.header, self.second = self._filled(), self._filled()
        self._ahead.seek(0)

    def _filled(self) -> bytes:
        """Read the next record that is no empty line: the parser leaves those out, too."""
        found = self._record()
        while found and not found.removeprefix(codecs.BOM_UTF8).strip(b" \r\n"):
            if self._ahead.tell() > _LONGEST_HEADER:
                raise ValueError("it begins with empty lines without an end")
            found = self._record()
        return found

    def _record(self) -> bytes:
        """Read the lines of a record, whose quoted fields may hold line breaks."""
        line = self._stream.readline(_LONGEST_HEADER)
        found, first = bytearray(line), line
        is_open = line.count(b'"') % 2 == 1
        while line and is_open and len(found) < _LONGEST_HEADER:
            line = self._stream.readline(_LONGEST_HEADER)
            found += line
            is_open ^= line.count(b'"') % 2 == 1
        self._ahead.write(found)
        # A quote that nothing closes is none.
        return first if is_open else bytes(found)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer") -> int:
        view = memoryview(buffer)
        found = self._ahead.read(len(view)) or self._stream.read1(len(view))
        if b"\0" in found:
            raise ValueError("it holds NUL bytes: it is no UTF-8 text; save it as UTF-8")
        fields = found.count(self.separator) if self.separator else 0
        self.taken += len(found) + _PER_FIELD * fields
        if self.taken > self._room:
            raise ValueError(
                f"rows without an end, or too long: more than {size(self._room)} of text in a "
                "few; allow more with --max-bytes"
            )
        view[: len(found)] = found
        return len(found)


def read_delimited(open_text: Opener, tabs: bool, bounds: Bounds) -> "pd.DataFrame":
    """Read a table of text.

    Parameters
    ----------
    open_text
        Opens the text from its beginning; it is called again where a column holds numbers in one
        piece and words in another.
    tabs
        Whether tabs divide the columns, whatever the header has.

    Raises
    ------
    ValueError, OSError, EOFError, zlib.error
        When it is no such text.
    DataError
        When the table is larger than it may be.
    """
    import pandas as pd

    pieces, n_bytes, rows = [], 0, 0
    for piece in _pieces(open_text, tabs, bounds):
        pieces.append(piece)
        rows += len(piece)
        n_bytes += _bytes_of(piece)
        bounds.check(rows, n_bytes)
    if len(pieces) > 1:
        _agree(pieces, lambda dtype: _pieces(open_text, tabs, bounds, dtype), bounds)
    labels = pieces[0].attrs.get(_LABELS, 0)
    table = pd.concat(pieces, ignore_index=True)
    if labels and table.iloc[:, -labels:].isna().all(axis=None):
        # A separator at the end of each row, not labels at its beginning.
        names = table.columns[labels:]
        table = table.iloc[:, :-labels].set_axis(names, axis=1)
    for name in table.select_dtypes("str").columns:
        values = table[name].dropna()
        commas = values[values.str.contains(",")]
        if len(commas) and values.str.fullmatch(_COMMA_NUMBER).all():
            raise ValueError(
                f"column '{name}' has numbers with commas ({commas.iloc[0]!s:.40}): write decimals "
                "with points, and thousands without a mark"
            )
    return table


def _pieces(
    open_text: Opener,
    tabs: bool,
    bounds: Bounds,
    dtype: Mapping[str, str] | None = None,
) -> "Iterator[pd.DataFrame]":
    import pandas as pd

    with open_text() as stream:
        text = _Text(stream, bounds.room)
        header = text.header.decode("utf-8-sig")
        if "\r" in header.rstrip("\r\n") and '"' not in header:
            raise ValueError("its lines end in carriage returns alone: save it with line feeds")
        separator = "\t" if tabs else _separator(header)
        columns = header.count(separator) + 1
        if columns > _MOST_COLUMNS or len(text.header) == _LONGEST_HEADER:
            raise ValueError(
                f"its first line has {columns:,} columns and {len(header):,} characters; at most "
                f"{_MOST_COLUMNS:,} columns are read"
            )
        _check_names(header, separator)
        values = min(_PIECE, bounds.room // _PER_VALUE)
        options = {"sep": separator, "encoding": "utf-8-sig", "low_memory": False, "dtype": dtype}
        lines = max(1, values // columns)
        labels = _fields(text.second, separator) - _fields(text.header, separator)
        if labels > _MOST_LABELS:
            raise ValueError(f"its second line has {labels:,} fields more than its first")
        text.separator = separator.encode()
        with pd.read_csv(io.BufferedReader(text), chunksize=lines, **options) as reader:
            for piece in reader:
                text.taken = 0
                if text.header.strip() and labels > 0:
                    labelled = piece.reset_index()
                    labelled.attrs[_LABELS] = labels
                    yield labelled
                else:
                    yield piece


def _check_names(header: str, separator: str) -> None:
    """Raise where two columns are called the same: pandas would give the second another name."""
    with suppress(csv.Error):  # a name longer than Python reads
        names = next(csv.reader([header], delimiter=separator), [])
        for name, times in Counter(filter(None, names)).most_common(1):
            if times > 1:
                raise ValueError(f"{times} columns are called '{name}': rename them")


def _fields(line: bytes, separator: str) -> int:
    """Count a line's fields; 0 where one is longer than Python reads."""
    try:
        return len(next(csv.reader([line.decode("utf-8-sig")], delimiter=separator), ()))
    except csv.Error:
        return 0


def _separator(header: str) -> str:
    """Commas, unless the header has none but has semicolons or tabs; not those in quoted names."""
    plain = re.sub(r'"[^"]*"', "", header)
    return next((mark for mark in (",", ";", "\t") if mark in plain), ",")


def _bytes_of(piece: "pd.DataFrame") -> int:
    return int(piece.memory_usage(deep=True).sum())


def _agree(
    pieces: "list[pd.DataFrame]",
    again: "Callable[[dict[str, str]], Iterator[pd.DataFrame]]",
    bounds: Bounds,
) -> None:
    """Make columns of one kind in all pieces, as if they had been read in one.

    What holds numbers in one piece and words in another is text: it is read again as it stands.
    """
    names = list(pieces[0].columns)
    kinds = {name: {kind for piece in pieces if (kind := _kind(piece[name]))} for name in names}
    mixed = {name: "str" for name in names if len(kinds[name]) > 1}
    if mixed:
        rows, n_bytes = sum(map(len, pieces)), sum(map(_bytes_of, pieces))
        for piece, fresh in zip(pieces, again(mixed), strict=True):
            n_bytes -= _bytes_of(piece)
            piece[list(mixed)] = fresh[list(mixed)].astype("str")
            n_bytes += _bytes_of(piece)
            bounds.check(rows, n_bytes)
    for name in names:
        # Gaps alone are numbers to pandas, and would make numbers of logical values.
        own = {"text": "str", "logical": "object"}.get("".join(kinds[name]))
        for piece in pieces if own else ():
            if not _kind(piece[name]):
                piece[name] = piece[name].astype(own)


def _kind(column: "pd.Series") -> str:
    """Return what a column holds; nothing where all of it is missing."""
    import pandas as pd

    if column.isna().all():
        return ""
    if pd.api.types.is_bool_dtype(column) or column.dtype == object:
        return "logical"
    return "number" if pd.api.types.is_numeric_dtype(column) else "text"

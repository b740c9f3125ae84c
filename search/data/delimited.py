"""Reads CSV and TSV in pieces, so that no file can take up all memory."""

import codecs
import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from search.data.headers import doubts_about_names, find_header, n_fields, separator_of
from search.data.limits import Limits
from search.data.missing import NOTES, read_dashes, restore_words
from search.data.numbers import DECIMAL, decimal_marks
from search.data.text_format import TextFormat
from search.formatting import shorten, size

if TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import Buffer

_MAX_HEADER_BYTES = 16_000_000
_MAX_COLUMNS = 100_000
# Values of a piece, and the approximate bytes that each takes while it is parsed.
PIECE_VALUES = 1_000_000
_BYTES_PER_VALUE = 64
# The parser reads 256 kB ahead, and any of these bytes may end a field.
_MIN_PIECE_BYTES = 8_000_000
# Bytes that the parser keeps for a field in addition to its text.
_BYTES_PER_FIELD = 16
# Rows that decide whether numbers are read with decimal commas.
_DECIMAL_ROWS = 1000
# Attribute of a piece: the number of row label columns, in a table whose rows have more fields than
# its header.
_LABELS = "labels"
_MAX_LABEL_COLUMNS = 20
# Records that are searched for a header, and bytes from which no more are read.
_MAX_START_RECORDS, _MAX_START_BYTES = 20, 1_000_000
# Attribute of a piece: the text of the lines before the header.
_SKIPPED = "skipped"

Opener = Callable[[], AbstractContextManager["io.BufferedReader[Any]"]]


class _CheckedStream(io.RawIOBase):
    """The text on its way to the parser: NUL bytes and pieces of unlimited length are errors.

    Attributes
    ----------
    header, second
        The header and the record after it. Empty records do not count, as the parser skips them.
    skipped
        The text of the lines before the header, which the parser reads as empty lines.
    piece_bytes
        Bytes that the parser has taken for the current piece; the reader resets it.
    separator
        Separator of the fields; empty until it is known.
    """

    def __init__(
        self, stream: "io.BufferedReader[Any]", memory: int, tabs: bool, has_header: bool
    ) -> None:
        self._stream = stream
        self._max_piece_bytes = max(memory, _MIN_PIECE_BYTES)
        self.piece_bytes = 0
        self.separator = b""
        self._lookahead = io.BytesIO()
        records, ends = [b""], [0]

        def read() -> Iterator[str]:
            while record := self._read_nonempty():
                records.append(record)
                ends.append(self._lookahead.tell())
                yield record.decode("utf-8-sig", errors="replace")
                if len(records) > _MAX_START_RECORDS or ends[-1] > _MAX_START_BYTES:
                    return

        number, self.named_separator = find_header(read(), tabs, has_header)
        while len(records) < number + 3 and (record := self._read_nonempty()):
            records.append(record)
        self.header, self.second = [*records, b"", b""][number + 1 : number + 3]
        text = self._lookahead.getvalue()
        lines = text[: ends[number]].decode("utf-8-sig", errors="replace").splitlines()
        self.skipped = tuple(line.strip() for line in lines if line.strip())
        # Empty lines keep the numbers of lines in the parser's messages.
        self._lookahead = io.BytesIO(
            b"\n" * text[: ends[number]].count(b"\n") + text[ends[number] :]
        )

    def _read_nonempty(self) -> bytes:
        record = self._read_record()
        while record and not record.removeprefix(codecs.BOM_UTF8).strip(b" \r\n"):
            if self._lookahead.tell() > _MAX_HEADER_BYTES:
                raise ValueError(f"it begins with {size(_MAX_HEADER_BYTES)} of empty lines")
            record = self._read_record()
        return record

    def _read_record(self) -> bytes:
        """Read the lines of a record, whose quoted fields may hold line breaks."""
        line = self._stream.readline(_MAX_HEADER_BYTES)
        record, first = bytearray(line), line
        is_open = line.count(b'"') % 2 == 1
        while line and is_open and len(record) < _MAX_HEADER_BYTES:
            line = self._stream.readline(_MAX_HEADER_BYTES)
            record += line
            is_open ^= line.count(b'"') % 2 == 1
        self._lookahead.write(record)
        # A quote that is never closed is an ordinary character.
        return first if is_open else bytes(record)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer") -> int:
        view = memoryview(buffer)
        block = self._lookahead.read(len(view)) or self._stream.read1(len(view))
        if b"\0" in block:
            raise ValueError("it holds NUL bytes: it is not UTF-8 text; save it as UTF-8")
        fields = block.count(self.separator) if self.separator else 0
        self.piece_bytes += len(block) + _BYTES_PER_FIELD * fields
        if self.piece_bytes > self._max_piece_bytes:
            raise ValueError(
                f"a few rows hold more than {size(self._max_piece_bytes)} of text: look for an "
                "unclosed quote, or raise --max-bytes"
            )
        view[: len(block)] = block
        return len(block)


def read_delimited(
    open_text: Opener,
    tabs: bool,
    limits: Limits,
    piece_values: int = PIECE_VALUES,
    text: TextFormat = TextFormat(),
) -> "pd.DataFrame":
    """Read a CSV or TSV file; see `search.data.missing` for the cells that are missing.

    If numbers have decimal commas, those with points stay text, as a point may separate thousands:
    see `search.data.numbers`.

    Parameters
    ----------
    open_text
        Opens the text at its beginning. It is called again if cells are missing, if a column holds
        numbers in one piece and text in another, or if numbers have decimal commas.
    tabs
        Whether tabs separate the columns. Otherwise the header decides.
    piece_values
        Number of values that are parsed at a time; fewer if the limits need it.

    Raises
    ------
    ValueError, OSError, EOFError, zlib.error
        When the file is damaged or not such text.
    DataError
        When the table exceeds the limits.
    """
    import pandas as pd

    def read(
        dtype: Mapping[str, str] | None = None, names: Sequence[str] = ()
    ) -> "Iterator[pd.DataFrame]":
        return _read_pieces(open_text, tabs, limits, piece_values, dtype, names, form)

    form, notes = text, list[str]()
    parsed = read()
    if text.decimal is None:
        first = next(parsed)
        parsed = chain([first], parsed)
        if decimal_marks(first.head(_DECIMAL_ROWS)) == {","}:
            form = replace(text, decimal=",")
            parsed = read()
            remedy = "choose another decimal mark with --decimal"
            notes.append(f"numbers are read with decimal commas ({remedy})")
    pieces = limits.collect(parsed, _bytes_of)
    if len(pieces) > 1:
        _unify_types(pieces, read, limits)
    if skipped := pieces[0].attrs.get(_SKIPPED):
        listed = ", ".join(f"'{shorten(line)}'" for line in skipped)
        notes.append(f"lines before the table are skipped: {listed}")
    notes += restore_words(pieces, read)
    labels = pieces[0].attrs.get(_LABELS, 0)
    table = pd.concat(pieces, ignore_index=True)
    if labels and table.iloc[:, -labels:].isna().all(axis=None):
        # Each row ends with separators; the first columns are not labels.
        names = table.columns[labels:]
        table = table.iloc[:, :-labels].set_axis(names, axis=1)
    notes += read_dashes(table)
    if text.header:
        notes += doubts_about_names(table)
    table.attrs[NOTES] = tuple(notes)
    has_fractions = any((column % 1).any() for _, column in table.select_dtypes("float").items())
    if has_fractions or form.decimal == ",":
        table.attrs[DECIMAL] = form.decimal or "."
    return table


def _read_pieces(
    open_text: Opener,
    tabs: bool,
    limits: Limits,
    piece_values: int,
    dtype: Mapping[str, str] | None,
    names: Sequence[str],
    form: TextFormat,
) -> "Iterator[pd.DataFrame]":
    """Yield the pieces of a table.

    Parameters
    ----------
    names
        Columns to read, with only empty cells missing. If empty, all columns are read, and cells
        with words such as NA are missing, too.
    """
    import pandas as pd

    with open_text() as stream:
        text = _CheckedStream(stream, limits.memory, tabs, form.header)
        header = text.header.decode("utf-8-sig")
        if "\r" in header.rstrip("\r\n") and '"' not in header:
            raise ValueError("its lines end with carriage returns only: save it with line feeds")
        separator = text.named_separator or ("\t" if tabs else separator_of(header))
        fields = n_fields(header, separator)
        columns = header.count(separator) + 1
        if columns > _MAX_COLUMNS or len(text.header) == _MAX_HEADER_BYTES:
            raise ValueError(
                f"its first line has {columns:,} columns and {len(header):,} characters; at most "
                f"{_MAX_COLUMNS:,} columns are read"
            )
        if form.header:
            _check_names(header, separator)
        values = min(piece_values, limits.memory // _BYTES_PER_VALUE)
        options: dict[str, Any] = {"sep": separator, "encoding": "utf-8-sig", "dtype": dtype}
        options |= {"low_memory": False, "decimal": form.decimal or "."}
        if not form.header:
            options |= {"header": None, "names": [f"x{k}" for k in range(fields)]}
        rows = max(1, values // columns)
        labels = n_fields(text.second.decode("utf-8-sig"), separator) - fields
        labels = labels if form.header else 0
        if labels > _MAX_LABEL_COLUMNS:
            raise ValueError(f"its second line has {labels:,} fields more than its first")
        if names:
            options |= {"keep_default_na": False, "na_values": [""]}
            if labels <= 0:
                options["usecols"] = lambda name: name in set(names)
        text.separator = separator.encode()
        with pd.read_csv(io.BufferedReader(text), chunksize=rows, **options) as reader:
            for piece in reader:
                text.piece_bytes = 0
                if text.header.strip() and labels > 0:
                    piece = piece.reset_index()  # noqa: PLW2901
                    piece.attrs[_LABELS] = labels
                piece.attrs[_SKIPPED] = text.skipped
                yield piece


def _check_names(header: str, separator: str) -> None:
    """Raise if two columns have one name: pandas would rename the second."""
    with suppress(csv.Error):  # a name longer than the csv module reads
        names = next(csv.reader([header], delimiter=separator), [])
        for name, times in Counter(filter(None, names)).most_common(1):
            if times > 1:
                raise ValueError(
                    f"{times} columns are called '{name}': rename them, or add --no-header if the "
                    "first line is not a header"
                )


def _bytes_of(piece: "pd.DataFrame") -> int:
    return int(piece.memory_usage(deep=True).sum())


def _unify_types(
    pieces: "list[pd.DataFrame]",
    read_again: "Callable[[dict[str, str]], Iterator[pd.DataFrame]]",
    limits: Limits,
) -> None:
    """Give each column the type that it would have if the file had been read in one piece.

    A column with numbers in one piece and text in another is read again as text, which keeps its
    numbers as they were written.
    """
    names = list(pieces[0].columns)
    kinds = {name: {kind for piece in pieces if (kind := _kind(piece[name]))} for name in names}
    mixed = {name: "str" for name in names if len(kinds[name]) > 1}
    if mixed:
        rows, n_bytes = sum(map(len, pieces)), sum(map(_bytes_of, pieces))
        for piece, as_text in zip(pieces, read_again(mixed), strict=True):
            n_bytes -= _bytes_of(piece)
            piece[list(mixed)] = as_text[list(mixed)].astype("str")
            n_bytes += _bytes_of(piece)
            limits.check(rows, n_bytes)
    for name in names:
        # pandas reads a piece without any value as numbers, which would turn booleans into numbers.
        dtype = {"text": "str", "boolean": "object"}.get("".join(kinds[name]))
        for piece in pieces if dtype else ():
            if not _kind(piece[name]):
                piece[name] = piece[name].astype(dtype)


def _kind(column: "pd.Series") -> str:
    """Return "boolean", "number" or "text"; empty if all values are missing."""
    import pandas as pd

    if column.isna().all():
        return ""
    if pd.api.types.is_bool_dtype(column) or column.dtype == object:
        return "boolean"
    return "number" if pd.api.types.is_numeric_dtype(column) else "text"

"""Finds the header of a delimited text, and points out names of columns that look like values."""

import csv
import re
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import TYPE_CHECKING

from search.formatting import shorten

if TYPE_CHECKING:
    import pandas as pd

_SEPARATORS = (",", ";", "\t", "|")
# Rows in which names are looked for, and names that a note lists.
_NAME_ROWS, _MOST_NAMES = 1000, 3
_MOST_PARSED = 100_000


def find_header(
    records: Iterator[str], tabs: bool = False, has_header: bool = True
) -> tuple[int, str]:
    """Find the header of a text, after lines such as a title, comments, or ``sep=;``.

    More than two records are read only if the first two have one field, or not equally many.

    Parameters
    ----------
    records
        The first records that are not empty.
    has_header
        Whether there is a header; if not, the first row of values is found.

    Returns
    -------
    number
        Number of records before the header.
    separator
        The separator that the first record names; empty if it does not.
    """
    known = list(islice(records, 1))
    if known and (named := re.fullmatch(r"sep=(.)", known[0].strip("\r\n"), re.IGNORECASE)):
        return 1, named[1]
    known += islice(records, 1)
    if len(known) < 2 or _fit(known[0], known[1], tabs):  # noqa: PLR2004
        return 0, ""
    known += records
    for number, (record, after) in enumerate(pairwise(known[1:]), 1):
        if _fit(record, after, tabs):
            return (number if _is_start(known[0], record, after, tabs, has_header) else 0), ""
    return 0, ""


def _is_start(before: str, record: str, after: str, tabs: bool, has_header: bool) -> bool:
    """Whether a record, and not the one before it, begins a table.

    Rows can have more fields than the header: labels, for which it has no name.
    """
    first, fields = _fields(before, tabs), _fields(record, tabs)
    is_wider = len(fields) >= len(first) + 2 or len(first) == 1
    if not has_header:
        return is_wider
    if len(fields) > len(first) and not any(map(_is_value, fields)):
        return is_wider or any(map(_is_value, _fields(after, tabs)))
    is_other = not tabs and separator_of(record) not in before
    has_names = 2 * sum(map(_is_value, fields)) < len(fields)
    return (is_wider or is_other) and has_names and not _is_value(fields[-1])


def _fit(record: str, after: str, tabs: bool) -> bool:
    """Whether two records have equally many fields, but not one field, and are not comments."""
    separator = "\t" if tabs else separator_of(record)
    fields = n_fields(record, separator)
    is_comment = record.startswith("#") and after.startswith("#")
    return fields != 1 and fields == n_fields(after, separator) and not is_comment


def _fields(record: str, tabs: bool) -> list[str]:
    return record.strip("\r\n").split("\t" if tabs else separator_of(record))


def _is_value(field: str) -> bool:
    """Whether a field has no letter, as names have."""
    return re.search(r"[^\W\d_]", field) is None


def n_fields(record: str, separator: str) -> int:
    """Count the fields; 0 if one of them is longer than the csv module reads.

    If there may be too many for a table, marks within quotes count as well: a list of millions of
    fields would take much memory.
    """
    marks = record.count(separator)
    if marks > _MOST_PARSED:
        return marks + 1
    try:
        return len(next(csv.reader([record], delimiter=separator), ()))
    except csv.Error:
        return 0


def separator_of(header: str) -> str:
    """Return the first of comma, semicolon, tab and pipe that the header has outside of quotes."""
    unquoted = re.sub(r'"[^"]*"', "", header)
    return next((mark for mark in _SEPARATORS if mark in unquoted), ",")


def doubts_about_names(table: "pd.DataFrame") -> Iterator[str]:
    """Yield a note if at least half of the names look like values of their columns."""
    import pandas as pd

    numbers = pd.to_numeric(pd.Series(table.columns, dtype="str"), errors="coerce").dropna()
    if len(numbers) > 1 and (numbers.diff().dropna() == 1).all():
        return  # years, or numbered columns
    part = table.head(_NAME_ROWS)
    found = [name for name in table.columns if _looks_like_value(name, part[name])]
    if 2 * len(found) >= len(table.columns):
        listed = ", ".join(map(shorten, found[:_MOST_NAMES]))
        yield (
            f"the names of the columns look like values ({listed}): if the file has no header, "
            "read it with --no-header"
        )


def _looks_like_value(name: str, column: "pd.Series") -> bool:
    from pandas.api.types import is_numeric_dtype
    from pandas.tseries.api import guess_datetime_format

    if is_numeric_dtype(column):
        return re.fullmatch(r"\s*[+-]?\d*\.?\d+([eE][+-]?\d+)?\s*", name) is not None
    is_date = re.search(r"\d", name) is not None and guess_datetime_format(name) is not None
    return is_date or bool((column == name).any())

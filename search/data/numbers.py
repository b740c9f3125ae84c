"""Reads columns of text whose values are numbers with marks, such as $1,234.50 or 12 %.

All values of a column decide what its marks mean. If they allow two meanings, as 1,234 does, the
other columns of the table decide, or else the user.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from shlex import quote
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from search.errors import DataError
from search.formatting import shorten

if TYPE_CHECKING:
    import pandas as pd

# Attribute of a table: the decimal mark of the numbers that the parser of its file has read.
DECIMAL = "decimal"
# Regular expressions and the texts that replace their matches, one after the other.
Rules = tuple[tuple[str, str], ...]

# Values of a column that are examined first. At least 80% of the values must be numbers in one
# notation; half of them, if the others are numbers with other units.
_SAMPLE, _MOST, _HALF = 200, 0.8, 0.5
# Columns that are named in the notes.
_MOST_NOTES = 10
# With \s or \d, pandas would use Python's regular expressions, which take ten times as long.
_SPACE = "[ \t\n\r\f\v\u00a0\u2009\u202f]"
# A number without a sign in Python's notation.
_NUMBER = "(?:[0-9]+(?:[.][0-9]*)?|[.][0-9]+)(?:[eE][+-]?[0-9]+)?"
# Decimal and thousands marks. Indian numbers have groups of two digits: 12,34,567.
_INDIAN = ",,"
_CONVENTIONS = (
    *((".", ","), (".", _INDIAN), (".", " "), (".", "'")),
    *((",", "."), (",", " "), (",", "'")),
)
# Some thousands marks are considered only if the text of a number matches such a pattern.
_SHOWN = {_INDIAN: ",[0-9][0-9],", " ": f"[0-9]{_SPACE}[0-9]", "'": "['\u2019]"}
_APOSTROPHE, _MINUS = "['\u2019]", "\u2212"
_SIGN = f"[+\\-{_MINUS}]?{_SPACE}*"
_MONEY = (
    "(?:[A-Z]{0,3}[$€£¥₹₩₽₺₫₴₦฿₪]"
    "|USD|EUR|GBP|CHF|JPY|CNY|INR|AUD|CAD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|ZAR|KRW|TRY|SGD|HKD"
    "|Rs\\.?|Fr\\.|kr\\.?|zł)"
)
# Suffixes that multiply a number by a power of ten, if a column has several of them.
_SCALES = {"k": 3, "K": 3, "M": 6, "B": 9, "bn": 9}
_UNIT = "[^\\d\\s.,'\u2019+()\\-][^\\d()]{0,14}[23]?"
_AFFIXES = re.compile(
    rf"{_SPACE}*\(?{_SIGN}(?P<prefix>{_MONEY}?){_SPACE}*{_SIGN}(?:\d|[.,]\d)"
    rf"(?:[\d.,'\u2019]|{_SPACE}(?=\d))*(?:[eE][+-]?\d+)?"
    rf"{_SPACE}*(?P<suffix>(?:{_UNIT})?)\)?{_SPACE}*"
)


@dataclass(frozen=True)
class Notation:
    """How the numbers of a column are written.

    Attributes
    ----------
    decimal, thousands
        The marks. Each number may have them or not.
    prefix, suffix
        A sign of a currency or a unit. A number may lack a currency, but not a unit.
    scaled
        Whether a number may have a suffix that multiplies it, as in 1.5M, instead of a unit.
    """

    decimal: str
    thousands: str
    prefix: str = ""
    suffix: str = ""
    scaled: bool = False

    @cached_property
    def pattern(self) -> str:
        """Regular expression of all numbers in this notation."""
        point = re.escape(self.decimal)
        mark = {" ": _SPACE, "'": _APOSTROPHE}.get(self.thousands, re.escape(self.thousands))
        grouped = f"[1-9][0-9]{{0,2}}(?:{mark}[0-9]{{3}})+(?:{point}[0-9]+)?"
        if self.thousands == _INDIAN:
            grouped = "[1-9][0-9]?(?:,[0-9]{2})*,[0-9]{3}(?:[.][0-9]+)?"
        number = f"(?:{_NUMBER.replace('[.]', point)}|{grouped})"
        prefix = f"(?:{re.escape(self.prefix)}{_SPACE}*)?"
        suffix = f"{_SPACE}*(?:{re.escape(self.suffix)})"
        if not self.suffix or re.fullmatch(_MONEY, self.suffix):
            suffix += "?"
        if self.scaled:
            suffix = f"{_SPACE}*(?:{'|'.join(_SCALES)})?"
        inner = f"{prefix}{_SIGN}{number}{suffix}"
        return rf"{_SPACE}*(?:{_SIGN}{inner}|\({inner}\)){_SPACE}*"

    @cached_property
    def rules(self) -> Rules:
        """Replacements that leave a number in Python's notation; they do not change such a one."""
        prefix, suffix = (
            re.escape(re.sub(_SPACE, "", affix)) for affix in (self.prefix, self.suffix)
        )
        # A point that does not precede three digits is a decimal point.
        digits = "[0-9]{2,3}" if self.thousands == _INDIAN else "[0-9]{3}"
        mark = re.escape(self.thousands[0])
        is_grouped = self.thousands[0] in ",."
        # The apostrophe ends the digits for the rule of the thousands mark.
        scales = [(rf"([0-9.,]){name}(\)?)$", rf"\1'e{power}\2") for name, power in _SCALES.items()]
        return (
            (f"{_SPACE}|{_APOSTROPHE}", ""),
            (_MINUS, "-"),
            *(((prefix, ""),) if prefix else ()),
            *(((rf"{suffix}(\)?)$", r"\1"),) if suffix else ()),
            *(scales if self.scaled else ()),
            (r"^\((.*)\)$", r"-\1"),
            *(((rf"{mark}({digits})\b", r"\1"),) if is_grouped else ()),
            *(((",", "."),) if self.decimal == "," else ()),
            *((("'", ""),) if self.scaled else ()),
        )


def rewrite(texts: "pd.Series", rules: Rules) -> "pd.Series":
    """Apply the rules to a column of text."""
    for pattern, replacement in rules:
        texts = texts.str.replace(pattern, replacement, regex=True)
    return texts


@dataclass(frozen=True)
class BadCells:
    """Cells of a column whose other values are numbers.

    Attributes
    ----------
    count, total
        Number of these cells, and of all values.
    row, first
        The first such cell, and its row from 1.
    like
        One of the numbers.
    n_numbers
        Number of distinct numbers.
    """

    count: int
    total: int
    row: int
    first: str
    like: str
    n_numbers: int

    def __str__(self) -> str:
        start, like = f"{self.count:,} of {self.total:,} values", shorten(self.like)
        end = f"'{shorten(self.first)}' in row {self.row:,}"
        if self.count == 1:
            return f"{start} is not a number such as {like}: {end}"
        return f"{start} are not numbers such as {like}, the first is {end}"


@dataclass
class Numbers:
    """What `read_numbers` has found.

    Attributes
    ----------
    notes
        A sentence on each column that was read as numbers, or has a few other cells.
    rules
        Rules of the columns whose text was read as numbers, by name.
    bad
        Cells that are not numbers, by the name of their column.
    """

    notes: tuple[str, ...] = ()
    rules: dict[str, Rules] = field(default_factory=dict)
    bad: dict[str, BadCells] = field(default_factory=dict)


@dataclass(frozen=True)
class _Reading:
    """The distinct texts of a column as numbers; several notations may read the same numbers."""

    notations: tuple[Notation, ...]
    numbers: NDArray[np.float64]

    def has(self, decimal: str | None, thousands: str | None = None) -> bool:
        """Whether the numbers may be written with these marks; ``None`` stands for any."""
        return any(
            decimal in (None, notation.decimal) and thousands in (None, notation.thousands[0])
            for notation in self.notations
        )


@dataclass(frozen=True)
class _Column:
    """A column of numbers with marks.

    Attributes
    ----------
    texts, codes
        The distinct texts, and the index of each row's text; -1 if it is missing.
    readings
        The numbers that the texts may stand for; empty if there are bad cells.
    """

    texts: "pd.Series"
    codes: NDArray[np.intp]
    readings: tuple[_Reading, ...]
    bad: BadCells | None = None

    @cached_property
    def is_plain(self) -> bool:
        """Whether all texts are numbers in Python's notation."""
        return bool(_full_matches(self.texts, f"{_SPACE}*[+-]?{_NUMBER}{_SPACE}*").all())

    @property
    def decimals(self) -> set[str]:
        """The decimal mark, if the numbers depend on it and there is no other reading."""
        found = {n.decimal for reading in self.readings for n in reading.notations}
        return found if len(found) == 1 else set()


def read_numbers(
    table: "pd.DataFrame",
    skip: Collection[str | None] = (),
    decimal: str | None = None,
    thousands: str | None = None,
) -> Numbers:
    """Turn columns of text into numbers if all of their values are numbers with marks.

    A mark is a thousands or decimal mark, a sign of a currency, a unit or a percent sign that all
    values have, spaces, or parentheses around negative numbers. Columns whose numbers have no marks
    are left as they are.

    Parameters
    ----------
    table
        Its columns are replaced.
    skip
        Columns that are not numbers, whatever their values look like.
    decimal, thousands
        The marks, if the user named them.

    Raises
    ------
    DataError
        If numbers such as 1,234 have two meanings. The message names the column.
    """
    columns: dict[str, _Column] = {}
    for name in table.columns:
        if name not in skip and (found := _examine(table[name])) is not None:
            columns[name] = found
    known = {mark for column in columns.values() for mark in column.decimals}
    known.update(table.attrs.get(DECIMAL, ()))
    has_commas = table.attrs.get(DECIMAL) == ","
    result, notes = Numbers(), []
    for name, column in columns.items():
        if column.bad is not None:
            result.bad[name] = column.bad
            remedy = f"if such cells are missing, add --na {quote(column.bad.first)}"
            notes.append(f"column '{name}': {column.bad}; the column is read as text ({remedy})")
            continue
        chosen = _choose(name, column, (decimal, thousands), known)
        # The parser of a file with decimal commas leaves numbers with points as text.
        is_python = column.is_plain and (chosen is None or chosen.has("."))
        if chosen is not None and (has_commas or not is_python):
            table[name] = _numbers(table[name], column, chosen)
            result.rules[name] = chosen.notations[0].rules
            notes.append(_note(name, column, chosen))
    if has_commas:
        for name in table.select_dtypes("float").columns:
            result.rules.setdefault(name, Notation(",", ".").rules)
    more = len(notes) - _MOST_NOTES
    rest = (f"{more} more columns hold numbers with marks, or numbers and a few other values",)
    result.notes = (*notes[:_MOST_NOTES], *(rest if more > 0 else ()))
    return result


def is_number_column(column: "pd.Series") -> bool:
    """Whether all values of a column of text are numbers, with marks or without."""
    found = _examine(column)
    return found is not None and found.bad is None


def decimal_marks(table: "pd.DataFrame") -> set[str]:
    """Return the marks without which a column of text could not be read as numbers."""
    found = (_examine(table[name]) for name in table.columns)
    return {mark for column in found if column is not None for mark in column.decimals}


def _examine(column: "pd.Series") -> _Column | None:
    """Examine a column; ``None`` if it is not one of text, or most values are not numbers."""
    import pandas as pd

    values = texts_of(column)
    if values is None:
        return None
    notations, least = _notations(sample_of(values))
    if not notations:
        return None
    codes, distinct = pd.factorize(values)
    texts = pd.Series(distinct, dtype="str")
    is_blank = _full_matches(texts, f"{_SPACE}*")
    # Most numbers are the same in all notations.
    is_simple = is_blank | _full_matches(texts, "[0-9]+")
    others = texts[~is_simple]
    fits = {}
    for notation in notations:
        shown = _SHOWN.get(notation.thousands)
        if shown is None or others.str.contains(shown).any():
            fits[notation] = is_simple.copy()
            fits[notation][~is_simple] = _full_matches(others, notation.pattern)
    complete = [notation for notation, fit in fits.items() if fit.all()]
    if complete:
        return _Column(texts, codes, tuple(_readings(texts, complete)))
    present = codes[codes >= 0]
    counts = {notation: int((~fit[present]).sum()) for notation, fit in fits.items()}
    best = min(counts, key=lambda notation: counts[notation])
    if len(present) - counts[best] < least * len(present):
        return None
    # The code -1 of missing values selects the last element.
    row = int(np.flatnonzero(~np.append(fits[best], True)[codes])[0])
    numbers = texts[fits[best] & ~is_blank]
    bad = BadCells(
        count=counts[best],
        total=len(present),
        row=row + 1,
        first=texts[codes[row]],
        like=numbers.iloc[0].strip(),
        n_numbers=len(numbers),
    )
    return _Column(texts, codes, (), bad)


def _full_matches(texts: "pd.Series", pattern: str) -> NDArray[np.bool_]:
    return np.asarray(texts.str.fullmatch(pattern), dtype=bool)


def texts_of(column: "pd.Series") -> "pd.Series | None":
    """Return a column that holds texts, or texts and numbers, as one of text."""
    import pandas as pd

    if isinstance(column.dtype, pd.StringDtype):
        return column
    if column.dtype != object:
        return None
    kinds = {type(value) for value in column.dropna()}
    if str not in kinds or not kinds <= {str, int, float}:
        return None
    return column.map(str, na_action="ignore").astype("str")


def sample_of(values: "pd.Series") -> list[str]:
    """Return some values, evenly spaced."""
    present = values.dropna()
    places = np.unique(np.linspace(0, len(present) - 1, _SAMPLE).astype(int))
    return [str(value) for value in present.iloc[places]] if len(present) else []


def _notations(sample: list[str]) -> tuple[list[Notation], float]:
    """Find the notations that fit the largest part of a sample.

    Returns
    -------
    notations
        None if they fit too small a part.
    least
        The part that they must fit.
    """
    sample = [text for text in sample if text.strip()]
    matches = [match for text in sample if (match := _AFFIXES.fullmatch(text))]
    if not matches or len(matches) < _MOST * len(sample):
        return [], _MOST
    prefixes = Counter(match["prefix"] for match in matches if match["prefix"])
    suffixes = Counter(match["suffix"].strip() for match in matches)
    money = [(n, text) for text, n in suffixes.items() if re.fullmatch(_MONEY, text)]
    prefix = prefixes.most_common(1)[0][0] if prefixes else ""
    suffix = max(money)[1] if money else suffixes.most_common(1)[0][0]
    # One suffix alone may be something else, such as the B of house number 12B.
    has_scales = len({_SCALES[text] for text in suffixes if text in _SCALES}) > 1
    n_scales = sum(n for text, n in suffixes.items() if text in ("", *_SCALES))
    scaled = has_scales and n_scales >= _MOST * len(matches)
    shares = {}
    for point, mark in _CONVENTIONS:
        notation = Notation(point, mark, prefix, "" if scaled else suffix, scaled)
        pattern = re.compile(notation.pattern)
        shares[notation] = sum(pattern.fullmatch(text) is not None for text in sample) / len(sample)
    largest = max(shares.values(), default=0)
    least = _HALF if len(prefixes) > 1 or len(suffixes) > 1 else _MOST
    return [n for n, share in shares.items() if share == largest >= least], least


def _readings(texts: "pd.Series", notations: Sequence[Notation]) -> Iterator[_Reading]:
    """Yield the different numbers that the texts may stand for."""
    import pandas as pd

    found: list[tuple[list[Notation], NDArray[np.float64]]] = []
    for notation in notations:
        numbers = pd.to_numeric(rewrite(texts, notation.rules)).to_numpy(dtype=np.float64)
        for same, known in found:
            if np.array_equal(numbers, known, equal_nan=True):
                same.append(notation)
                break
        else:
            found.append(([notation], numbers))
    for same, numbers in found:
        yield _Reading(tuple(same), numbers)


def _choose(
    name: str, column: _Column, asked: tuple[str | None, str | None], known: Collection[str]
) -> _Reading | None:
    """Return the reading of a column.

    ``None`` if there are several, and one of them is in Python's notation.

    Parameters
    ----------
    asked
        The decimal and the thousands mark that the user named.
    known
        The decimal marks that are used in the table.
    """
    first, *others = column.readings
    chosen = [first]
    if others:
        chosen = [reading for reading in column.readings if reading.has(*asked)]
        if len(chosen) != 1 and len(known) == 1:
            chosen = [reading for reading in column.readings if reading.has(*known)]
    if len(chosen) == 1:
        return chosen[0]
    if column.is_plain:
        return None
    place = int(np.flatnonzero(first.numbers != others[0].numbers)[0])
    marks = {n.thousands[0] for reading in column.readings for n in reading.notations}
    text = column.texts[place].strip()
    mark = next(mark for mark in marks if mark in ",." and mark in text)
    row = int(np.flatnonzero(column.codes == place)[0]) + 1
    one, other = (f"{reading.numbers[place]:.10g}" for reading in (first, others[0]))
    raise DataError(
        f"column '{name}' holds numbers such as {shorten(text)} (row {row:,}), which may be {one} "
        f"or {other}: say which by --thousands '{mark}' or --decimal '{mark}'"
    )


def _numbers(values: "pd.Series", column: _Column, reading: _Reading) -> "pd.Series":
    import pandas as pd

    numbers: NDArray[Any] = np.append(reading.numbers, np.nan)[column.codes]
    return pd.Series(numbers, index=values.index, name=values.name)


def _note(name: str, column: _Column, reading: _Reading) -> str:
    is_blank, parts = np.isnan(reading.numbers), []
    if (place := _first_changed(column.texts, reading.numbers)) is not None:
        cell, number = column.texts[place], reading.numbers[place]
        parts.append(f"text such as '{shorten(cell)}' is read as a number ({number:.10g})")
    if is_blank.any():
        blank = int(np.append(is_blank, False)[column.codes].sum())
        parts.append(f"cells of spaces ({blank:,} row{'s'[: blank != 1]}) are read as missing")
    return f"column '{name}': {'; '.join(parts) or 'its numbers have decimal points'}"


def _first_changed(texts: "pd.Series", numbers: NDArray[np.float64]) -> int | None:
    """Return the place of the first text that is another number, or none, in Python's notation."""
    import pandas as pd

    for count in (_SAMPLE, len(texts)):  # parsing all texts takes long
        plain = pd.to_numeric(texts.head(count), errors="coerce")
        differs = (plain != numbers[:count]) & ~np.isnan(numbers[:count])
        if differs.any():
            return int(np.flatnonzero(differs)[0])
    return None

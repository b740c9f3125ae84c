"""Decides which cells of a table are missing.

Empty cells are missing. Words such as NA and None are missing in columns of numbers, booleans and
dates, and are data in columns of text, where they may well be a category.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from search.data.numbers import is_number_column

if TYPE_CHECKING:
    import pandas as pd

# Attribute of a table: sentences on the words that were found in it.
NOTES = "notes"
# A word that pandas reads as text, and stands for a missing number.
_DASH = "-"
# Columns that are named in the notes.
_MOST_NOTES = 10


def restore_words(
    pieces: "Sequence[pd.DataFrame]",
    read_again: "Callable[[Mapping[str, str], Sequence[str]], Iterator[pd.DataFrame]]",
) -> tuple[str, ...]:
    """Put back words that pandas has read as missing into columns of text.

    Parameters
    ----------
    pieces
        Consecutive rows of a table, which are changed. A column has the same kind of values in all
        of them.
    read_again
        Reads the same pieces with only empty cells missing, given types of columns and the names
        of the columns to read.

    Returns
    -------
    A sentence on each column with such words
    """
    names = [n for n in pieces[0].columns if any(piece[n].isna().any() for piece in pieces)]
    if not names:
        return ()
    texts = [name for name in names if _is_text([piece[name] for piece in pieces])]
    found: dict[str, Counter[str]] = {name: Counter() for name in names}
    for piece, raw in zip(pieces, read_again(dict.fromkeys(texts, "str"), names), strict=True):
        for name in names:
            is_word = piece[name].isna() & raw[name].notna()
            if not is_word.any():
                continue
            words = raw[name].astype("str")
            found[name].update(words[is_word])
            if name in texts:
                piece[name] = piece[name].where(~is_word, words)
    return tuple(_notes({name: words for name, words in found.items() if words}, texts))


def _is_text(parts: "Sequence[pd.Series]") -> bool:
    """Whether a column holds text that is neither dates nor numbers with marks."""
    import pandas as pd
    from pandas.api.types import is_string_dtype
    from pandas.tseries.api import guess_datetime_format

    values = next((values for part in parts if len(values := part.dropna())), None)
    if values is None or values.dtype == object or not is_string_dtype(values):
        return False
    if guess_datetime_format(values.iloc[0]) is not None:
        return False
    return not is_number_column(pd.concat(parts))


def _notes(found: Mapping[str, Counter[str]], texts: Sequence[str]) -> Iterator[str]:
    for name in list(found)[:_MOST_NOTES]:
        words = ", ".join(f"'{word}' ({_rows(count)})" for word, count in found[name].items())
        if name in texts:
            word = next(iter(found[name]))
            yield f"column '{name}': {words} kept as text (--na {word} reads it as missing)"
        else:
            yield f"column '{name}': {words} read as missing"
    more = len(found) - _MOST_NOTES
    if more > 0:
        yield f"{more} more columns hold words such as NA"


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def read_dashes(table: "pd.DataFrame") -> Iterator[str]:
    """Make dashes missing in columns of text whose other values are numbers; yield notes.

    Columns of numbers without marks become numbers.
    """
    for name in table.select_dtypes("str").columns:
        is_dash = table[name] == _DASH
        if is_dash.any() and is_number_column(values := table[name].mask(is_dash)):
            numbers = _as_numbers(values)
            table[name] = values if numbers is None else numbers
            yield f"column '{name}': '{_DASH}' ({_rows(int(is_dash.sum()))}) read as missing"


def mark_missing(table: "pd.DataFrame", words: Sequence[str]) -> tuple[str, ...]:
    """Make cells missing that hold one of the words; return notes.

    A word that is a number stands for equal numbers, too. A column whose other values are all
    numbers becomes one of numbers.
    """
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    counts, numbers = Counter[str](), {word: _number(word) for word in words}
    for name in table.columns if words else ():
        column = table[name]
        if is_bool_dtype(column):
            continue
        is_numeric = is_numeric_dtype(column)
        for word in words:
            is_word = column == numbers[word] if is_numeric else column.astype(object) == word
            is_word = is_word.fillna(False).astype(bool)
            if not is_word.any():
                continue
            counts[word] += int(is_word.sum())
            column = column.mask(is_word)
            if not is_numeric and (as_numbers := _as_numbers(column)) is not None:
                column = as_numbers
            table[name] = column
    return tuple(f"--na {word}: {counts[word]:,} cells read as missing" for word in words)


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return float("nan")  # equal to no number


def _as_numbers(column: "pd.Series") -> "pd.Series | None":
    """Return a column of text as numbers; ``None`` if a value is no number, or there is none."""
    import pandas as pd

    values = column.dropna()
    if not len(values) or not all(isinstance(value, str) for value in values):
        return None
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.isna().any():
        return None
    return numbers.reindex(column.index).astype(np.float64)

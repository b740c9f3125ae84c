"""Decides whether the day or the month comes first in dates such as 02/06/2024.

A number above 12 shows it, and the encoder of dates finds it by itself. If a column has none, dates
with points are read day first, and other dates as in the other columns, or as the user says. By
default the month comes first, as the encoder takes it.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from search.data.numbers import Rules, rewrite, sample_of, texts_of
from search.types import DateOrder

if TYPE_CHECKING:
    import pandas as pd

_DATE = r"\s*([0-9]{1,2})([/.\-])([0-9]{1,2})[/.\-]([0-9]{4}|[0-9]{2})(?:[^0-9].*)?"
_MAX_MONTH, _MAX_DAY = 12, 31
# Columns that are named in the notes.
_MOST_NOTES = 10


@dataclass(frozen=True)
class _Dates:
    """A column of dates.

    Attributes
    ----------
    mark
        Separates day, month and year.
    order
        ``None`` if the dates do not show it.
    first
        The first date.
    """

    mark: str
    order: DateOrder | None
    first: str


def read_dates(
    table: "pd.DataFrame", skip: Collection[str | None] = (), asked: DateOrder | None = None
) -> tuple[dict[str, Rules], tuple[str, ...]]:
    """Write dates as 2024-06-02 in columns of text that do not show that the day comes first.

    Parameters
    ----------
    table
        Its columns are replaced.
    skip
        Columns that are not dates.
    asked
        The order that the user chose for columns that do not show it.

    Returns
    -------
    rules
        Rules of the columns that were changed, by name.
    notes
        A sentence on each column whose dates do not show the order.
    """
    found = ((name, _examine(table[name])) for name in table.columns if name not in skip)
    columns = {name: dates for name, dates in found if dates is not None}
    known = {dates.order for dates in columns.values() if dates.order is not None}
    rules, notes = {}, []
    for name, dates in columns.items():
        if dates.order is not None:
            continue
        reason = "with --dates" if asked else "as dates with points usually are"
        order: DateOrder | None = asked or ("day-first" if dates.mark == "." else None)
        if order is None and len(known) == 1:
            (order,), reason = known, "as in other columns"
        words = (order or "month-first").replace("-", " ")
        about = f"column '{name}': dates such as {dates.first} are read {words}"
        if order is None:
            notes.append(
                f"{about}, because none shows the order of day and month (--dates day-first reads "
                "them day first)"
            )
        else:
            notes.append(f"{about}, {reason}")
        if order == "day-first" or asked:
            rules[name] = _rules(dates.mark, order or "month-first")
            table[name] = rewritten(table[name], rules[name])
    more = len(notes) - _MOST_NOTES
    rest = (f"{more} more columns hold dates that do not show the order of day and month",)
    return rules, (*notes[:_MOST_NOTES], *(rest if more > 0 else ()))


def rewritten(column: "pd.Series", rules: Rules) -> "pd.Series":
    """Apply the rules to the distinct texts of a column."""
    import pandas as pd

    codes, distinct = pd.factorize(column)
    texts = rewrite(pd.Series(distinct, dtype="str"), rules)
    texts.loc[len(texts)] = np.nan  # the code -1 selects it
    return pd.Series(texts.array[codes], index=column.index, name=column.name)


def _examine(column: "pd.Series") -> _Dates | None:
    """Examine a column; ``None`` if its values are not dates of numbers, the year last."""
    import pandas as pd

    values = texts_of(column)
    if values is None:
        return None
    sample = pd.Series(sample_of(values), dtype="str")
    if not len(sample) or not sample.str.fullmatch(_DATE).all():
        return None
    distinct = pd.Series(values.dropna().unique(), dtype="str")
    parts = distinct.str.extract(f"^(?:{_DATE})$")
    if parts[0].isna().any() or parts[1].nunique() > 1:
        return None
    largest = [int(parts[part].astype(np.int64).max()) for part in (0, 2)]
    is_day = [number > _MAX_MONTH for number in largest]
    if all(is_day) or max(largest) > _MAX_DAY:
        return None
    order: DateOrder | None = "day-first" if is_day[0] else "month-first" if is_day[1] else None
    return _Dates(parts[1].iloc[0], order, distinct.iloc[0].strip())


def _rules(mark: str, order: DateOrder) -> Rules:
    def steps() -> Iterator[tuple[str, str]]:
        one, two, end = "[0-9]", "[0-9]{2}", "([^0-9].*)?$"
        yield "^[ \t]+", ""
        yield f"^({one})[{mark}]", rf"0\1{mark}"
        yield f"^({two})[{mark}]({one})[{mark}]", rf"\1{mark}0\2{mark}"
        date = f"^({two})[{mark}]({two})[{mark}]"
        # The century of two digits is chosen as by strptime.
        for years, century in (("[0-5][0-9]|6[0-8]", "20"), (two, "19")):
            yield f"{date}({years}){end}", rf"\1{mark}\2{mark}{century}\3\4"
        day, month = (r"\1", r"\2") if order == "day-first" else (r"\2", r"\1")
        yield f"{date}({two}{two}){end}", rf"\3-{month}-{day}\4"

    return tuple(steps())

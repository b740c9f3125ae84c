"""Points out rows that should perhaps not be learned from: footers, and targets far from the rest.

It changes nothing itself.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from search.formatting import shorten

if TYPE_CHECKING:
    import pandas as pd

# Rows in which footers are looked for, and rows that a table with a footer has at least.
_LAST, _MIN_ROWS = 3, 10
_FOOTER = re.compile(
    r"(grand |sub-?)?totals?|sums?|average|mean|summe|gesamt|insgesamt|somme|suma|moyenne|totale",
    re.IGNORECASE,
)
# Targets are far from the rest if at most 5% of the rows, and one row in any case, have at least
# half of the variance, and are ten standard deviations of the rest, and three times the largest
# distance in the rest, away from the median.
_MOST_EXTREME, _LEAST_SHARE, _DEVIATIONS, _GAP = 0.05, 0.5, 10, 3


def footer_notes(table: "pd.DataFrame") -> Iterator[str]:
    """Yield a note if the last rows look like footers, such as totals of the rows above."""
    if len(table) < _MIN_ROWS:
        return
    for place in range(len(table) - _LAST, len(table)):
        about = _footer_word(table, place)
        if about is None and place == len(table) - 1 and _is_sum(table):
            about = "sums of the rows above"
        if about is not None:
            yield f"row {place + 1:,} looks like a footer ({about}): if it is one, remove it"


def _footer_word(table: "pd.DataFrame", place: int) -> str | None:
    """Return a word such as Total, and its column, that only the last rows of a table have."""
    for name in table.select_dtypes(["object", "str"]).columns:
        cell = table[name].iloc[place]
        if isinstance(cell, str) and _FOOTER.fullmatch(cell.strip().rstrip(":")):
            above = table[name].iloc[: len(table) - _LAST]
            if not (above == cell).any():
                return f"'{shorten(cell)}' in column '{name}'"
    return None


def _is_sum(table: "pd.DataFrame") -> bool:
    """Whether all numbers of the last row are sums or means of the numbers above, and one a sum."""
    n_sums = 0
    numbers = table.select_dtypes("number", exclude=["complex", "timedelta"])
    for name in numbers.columns:
        values = numbers[name].to_numpy(dtype=np.float64, na_value=np.nan)
        last, above = values[-1], values[:-1][~np.isnan(values[:-1])]
        if np.isnan(last) or not len(above):
            continue
        total = above.sum()
        if np.isclose(last, total, rtol=1e-6) and abs(total) > np.abs(above).max():
            n_sums += 1
        elif not np.isclose(last, total / len(above), rtol=1e-6):
            return False
    return n_sums > 0


def extreme_target_notes(target: "pd.Series") -> Iterator[str]:
    """Yield a note if a few values have most of the variance of a target of numbers.

    Parameters
    ----------
    target
        Its index is the number of the row in the table, from 0.
    """
    n_rows = len(target)
    if n_rows < _MIN_ROWS:
        return
    values = target.to_numpy(dtype=np.float64)
    distances = np.abs(values - np.median(values))
    order = np.argsort(distances, kind="stable")
    ordered = values[order] - np.median(values)
    counts = np.arange(1, n_rows + 1)
    # Sums of squares of the nearest values.
    rest = np.cumsum(ordered**2) - np.cumsum(ordered) ** 2 / counts
    for n_extreme in range(1, max(1, int(_MOST_EXTREME * n_rows)) + 1):
        n_rest = n_rows - n_extreme
        share = 1 - rest[n_rest - 1] / rest[-1]
        usual = max(
            _DEVIATIONS * np.sqrt(rest[n_rest - 1] / n_rest), _GAP * distances[order[n_rest - 1]]
        )
        # `usual` is 0 if all other values are equal: then no value is called extreme.
        if share >= _LEAST_SHARE and 0 < usual < distances[order[n_rest]]:
            row = order[-1]
            yield (
                f"{share:.0%} of the variance of the target '{target.name}' comes from "
                f"{n_extreme:,} of {n_rows:,} rows, such as {values[row]:.6g} in row "
                f"{target.index[row] + 1:,}: if these values are errors, correct or remove them; "
                "--metric mae counts them less"
            )
            return

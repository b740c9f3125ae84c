"""Reads the columns with a role: weights, groups and times of the rows. Checks all roles."""

import warnings
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from search.data.description import DataDescription
from search.errors import DataError, UsageError
from storage.errors import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]


@dataclass(frozen=True)
class Roles:
    """Weights, groups and times of the rows.

    Attributes
    ----------
    weights : float64 array of shape (n_rows,), or None
    groups : int array of shape (n_rows,), or None
        Codes of the groups, from 0.
    times : int array of shape (n_rows,), or None
        Ranks of the times, from 0; equal times have equal ranks.
    """

    weights: Array | None = None
    groups: Array | None = None
    times: Array | None = None

    def select(self, rows: Array) -> "Roles":
        """Return the roles of some rows; codes and ranks have no gaps.

        Parameters
        ----------
        rows : boolean array of shape (n_rows,), or array of indices
        """
        return Roles(
            weights=None if self.weights is None else self.weights[rows],
            groups=None if self.groups is None else dense_ranks(self.groups[rows]),
            times=None if self.times is None else dense_ranks(self.times[rows]),
        )


def read_roles(table: "pd.DataFrame", description: DataDescription) -> Roles:
    """Read the columns that describe rows, and check the columns with another role.

    Raises
    ------
    UsageError
        When there is no such column, or a column has two roles.
    DataError
        When a column's values do not fit its role.
    """
    roles, role_of = description.roles, dict[str, str]()
    for role, name in description.assignments:
        check_column(table, name, role)
        if name == description.target:
            raise UsageError(f"--{role} '{name}' is the target")
        if name in role_of:
            raise UsageError(
                f"--{role} '{name}' already has another role, --{role_of[name]}: give the column "
                "only one of them"
            )
        role_of[name] = role
    for name in description.categorical:
        _check_categorical(table[name])
    for role, name in roles.items():
        missing = int(table[name].isna().sum())
        if missing:
            raise DataError(f"--{role} '{name}' is missing in {missing} rows: fill it in")
    columns = {role: table[name] for role, name in roles.items()}
    return Roles(
        weights=_weights(columns["weight"]) if "weight" in columns else None,
        groups=dense_ranks(columns["group"].astype(str)) if "group" in columns else None,
        times=_times(columns["time"]) if "time" in columns else None,
    )


def check_column(table: "pd.DataFrame", name: str, role: str) -> None:
    """Raise `UsageError` if the table has no column `name`; the message suggests a similar one."""
    columns = [str(column) for column in table.columns]
    if name in columns:
        return
    listed = ", ".join(columns[:30]) + (", …" if len(columns) > len(columns[:30]) else "")
    hint = did_you_mean(name, columns)
    raise UsageError(
        f"--{role} '{name}' is not a column of the table{hint}: its columns are {listed}"
    )


def _check_categorical(column: "pd.Series") -> None:
    """Raise `DataError` if values are dates, or numbers that are not whole."""
    import pandas as pd

    values = column.dropna().infer_objects()
    if len(values) and isinstance(values.iloc[0], Decimal):
        values = values.astype(np.float64)
    if pd.api.types.is_datetime64_any_dtype(values):
        raise DataError(
            f"--categorical '{column.name}' holds dates: categories are whole numbers or texts"
        )
    if not pd.api.types.is_numeric_dtype(values):
        return
    numbers = values.to_numpy(dtype=np.float64)
    measured = numbers[~np.isfinite(numbers) | (numbers != np.floor(numbers))]
    if len(measured):
        raise DataError(
            f"--categorical '{column.name}' holds {measured[0]:g}: categories are whole numbers or "
            "texts"
        )


def _weights(column: "pd.Series") -> Array:
    import pandas as pd

    numbers: Array = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(numbers) | (numbers < 0))
    if len(bad):
        value, row = column.iloc[bad[0]], column.index[bad[0]] + 1
        msg = (
            f"--weight '{column.name}' holds {value!s:.40} in row {row:,}: weights are numbers "
            "from 0 up"
        )
        raise DataError(msg)
    if not numbers.any():
        raise DataError(f"--weight '{column.name}' is 0 in every row")
    return numbers


def dense_ranks(values: Array) -> Array:
    """Return the rank of each value among the sorted distinct values, from 0."""
    return np.asarray(np.unique(values, return_inverse=True)[1])


def _times(column: "pd.Series") -> Array:
    import pandas as pd

    if isinstance(column.iloc[0], Decimal):
        column = column.astype(np.float64)
    if pd.api.types.is_numeric_dtype(column):
        return dense_ranks(column.to_numpy(dtype=np.float64))
    first, *others = _parse_dates(column)
    if any(not np.array_equal(first, other) for other in others):
        raise DataError(
            f"--time '{column.name}' holds dates such as {column.iloc[0]}, whose day and month "
            "cannot be told apart: say which comes first by --dates day-first or --dates "
            "month-first"
        )
    return first


def _parse_dates(column: "pd.Series") -> list[Array]:
    """Return the ranks of the dates for each format in which the whole column can be parsed.

    Dates are not parsed one by one, as pandas would then take 13/02 for February and 12/02 for
    December.
    """
    import pandas as pd

    formats: tuple[dict[str, Any], ...] = ({"format": "ISO8601"}, {}, {"dayfirst": True})
    ranks, reason = [], ""
    with warnings.catch_warnings():
        # pandas warns of unknown formats, and of dates that contradict `dayfirst`.
        warnings.simplefilter("ignore", UserWarning)
        for options in formats:
            try:
                times = pd.to_datetime(column, utc=True, **options)
            except (ValueError, TypeError) as error:
                reason = str(error).splitlines()[0]
                continue
            ranks.append(dense_ranks(times.dt.tz_convert(None).to_numpy()))
            if "format" in options:
                break
    if not ranks:
        raise DataError(f"--time '{column.name}' holds neither numbers nor dates: {reason}")
    return ranks

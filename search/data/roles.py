"""Columns that say something about rows instead of describing them: weight, group, time."""

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
    """What the columns say of each row.

    Attributes
    ----------
    weights : float64 array of shape (n_rows,), or None
    groups : array of shape (n_rows,), or None
        Number of the row's group, from 0.
    times : array of shape (n_rows,), or None
        Number of the row's moment, from 0, in order; equal for equal times.
    """

    weights: Array | None = None
    groups: Array | None = None
    times: Array | None = None

    def of(self, chosen: Array) -> "Roles":
        """Return the roles of the chosen rows; groups and moments are numbered anew."""
        return Roles(
            weights=None if self.weights is None else self.weights[chosen],
            groups=None if self.groups is None else numbered(self.groups[chosen]),
            times=None if self.times is None else numbered(self.times[chosen]),
        )


def read_roles(table: "pd.DataFrame", description: DataDescription) -> Roles:
    """Read the columns that have a role.

    Raises
    ------
    UsageError
        When there is no such column, or a column has two roles.
    DataError
        When a column does not hold what its role asks for.
    """
    roles = description.roles
    for role, name in roles.items():
        check_column(table, name, role)
        if name == description.target:
            raise UsageError(f"--{role} '{name}' is the target")
        if list(roles.values()).count(name) > 1:
            raise UsageError(f"--{role} '{name}' is named for another role, too")
        missing = int(table[name].isna().sum())
        if missing:
            raise DataError(f"--{role} '{name}' is missing in {missing} rows: fill it in")
    columns = {role: table[name] for role, name in roles.items()}
    return Roles(
        weights=_weights(columns["weight"]) if "weight" in columns else None,
        groups=numbered(columns["group"].astype(str)) if "group" in columns else None,
        times=_times(columns["time"]) if "time" in columns else None,
    )


def check_column(table: "pd.DataFrame", name: str, role: str) -> None:
    """Raise `UsageError` where the table has no column `name`; the message offers a near one."""
    columns = [str(column) for column in table.columns]
    if name in columns:
        return
    shown = ", ".join(columns[:30]) + (", …" if len(columns) > len(columns[:30]) else "")
    hint = did_you_mean(name, columns)
    raise UsageError(f"--{role} '{name}' is no column of the table{hint}: there are {shown}")


def _weights(column: "pd.Series") -> Array:
    import pandas as pd

    numbers: Array = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(numbers) | (numbers < 0))
    if len(bad):
        value = column.iloc[bad[0]]
        msg = f"--weight '{column.name}' holds {value!s:.40}: weights are numbers, not below 0"
        raise DataError(msg)
    if not numbers.any():
        raise DataError(f"--weight '{column.name}' is 0 in every row")
    return numbers


def numbered(values: Array) -> Array:
    """Return the number of each value among the distinct ones, in their order, from 0."""
    return np.asarray(np.unique(values, return_inverse=True)[1])


def _times(column: "pd.Series") -> Array:
    import pandas as pd

    if isinstance(column.iloc[0], Decimal):
        column = column.astype(np.float64)
    if pd.api.types.is_numeric_dtype(column):
        return numbered(column.to_numpy(dtype=np.float64))
    first, *others = _readings(column)
    if any(not np.array_equal(first, other) for other in others):
        raise DataError(
            f"--time '{column.name}' holds dates such as {column.iloc[0]}, of which no one can say "
            "what is the day and what the month: write them as 2024-12-31"
        )
    return first


def _readings(column: "pd.Series") -> list[Array]:
    """Return the order of dates by each way in which the whole column can be read.

    One way is for all of it: pandas asked to read each date by itself takes 13/02 for February and
    12/02 for December.
    """
    import pandas as pd

    ways: tuple[dict[str, Any], ...] = ({"format": "ISO8601"}, {}, {"dayfirst": True})
    found, reason = [], ""
    with warnings.catch_warnings():
        # Of a format that is none of the usual ones, and of days that come first after all.
        warnings.simplefilter("ignore", UserWarning)
        for way in ways:
            try:
                moments = pd.to_datetime(column, utc=True, **way)
            except (ValueError, TypeError) as error:
                reason = str(error).splitlines()[0]
                continue
            found.append(numbered(moments.dt.tz_convert(None).to_numpy()))
            if "format" in way:
                break
    if not found:
        raise DataError(f"--time '{column.name}' holds neither numbers nor dates: {reason}")
    return found

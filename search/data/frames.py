"""Accepts tables in memory: pandas and polars frames, NumPy arrays; converts types of columns."""

import re
from datetime import UTC, timezone, tzinfo
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from search.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd


def to_pandas(data: Any) -> "pd.DataFrame":
    """Return a table as a pandas frame with named columns and without its index.

    Parameters
    ----------
    data : pandas or polars frame, or array of shape (n_rows, n_columns)
        Frames of other libraries need the method ``to_pandas``. The columns of an array are named
        x0, x1, ….

    Raises
    ------
    UsageError
        When `data` has another type or shape.
    DataError
        When it has no rows, or two columns have one name.
    """
    import numpy as np
    import pandas as pd

    if isinstance(data, np.ndarray):
        if data.ndim != 2:  # noqa: PLR2004 a table
            raise UsageError(
                f"an array of shape {data.shape} is not a table: give rows and columns"
            )
        frame = pd.DataFrame(data, columns=[f"x{k}" for k in range(data.shape[1])])
    elif isinstance(data, pd.DataFrame):
        frame = data
    elif hasattr(data, "to_pandas"):
        frame = data.to_pandas()
    else:
        raise UsageError(
            f"data of type {type(data).__name__} is not a table: give a path, a pandas or polars "
            "frame, or an array of rows and columns"
        )
    if frame.empty:
        raise DataError(f"the table has no rows ({frame.shape[1]} columns)")
    frame = frame.reset_index(drop=True)
    frame.columns = pd.Index([str(name) for name in frame.columns])
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise DataError(f"two columns of the table are called '{twice[0]}': rename one")
    return with_plain_types(frame)


def with_plain_types(table: "pd.DataFrame") -> "pd.DataFrame":
    """Return a table whose types a registered model can store.

    Sparse columns become dense, Arrow types become the types in which a Parquet file is read, and
    floats of more than 64 bits become float64. Time zones of other libraries become those of the
    standard library, or UTC if they have no name. Dates with different time zones become dates in
    UTC.
    """
    changed = {}
    for name, column in table.items():
        plain = _with_plain_type(column)
        if plain is not column:
            changed[name] = plain
    return table.assign(**changed) if changed else table


def _with_plain_type(column: "pd.Series") -> "pd.Series":
    import numpy as np
    import pandas as pd

    if isinstance(column.dtype, pd.SparseDtype):
        column = column.astype(column.dtype.subtype)
    elif isinstance(column.dtype, pd.ArrowDtype):
        import pyarrow as pa

        arrow = pa.Table.from_pandas(column.to_frame(), preserve_index=False)
        column = arrow.to_pandas(ignore_metadata=True)[column.name].set_axis(column.index)
    elif column.dtype == object and pd.api.types.infer_dtype(column) == "datetime":
        zoned = any(value.tzinfo is not None for value in column.dropna())
        column = pd.to_datetime(column, utc=zoned)
    if column.dtype.kind == "f" and column.dtype.itemsize > np.dtype(np.float64).itemsize:
        column = column.astype(np.float64)
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        zone = _standard_zone(column.dtype.tz)
        if zone is not column.dtype.tz:
            column = column.dt.tz_convert(zone)
    return column


def _standard_zone(zone: tzinfo) -> tzinfo:
    """Return a time zone as one of the standard library."""
    if isinstance(zone, ZoneInfo) and zone.key is not None:
        return zone
    if isinstance(zone, timezone) and zone.tzname(None).startswith("UTC"):
        return zone
    offset = zone.utcoffset(None)
    if offset is not None:
        return timezone(offset)
    # pytz names its zones; a zone of dateutil shows the file that it was read from.
    name = getattr(zone, "zone", None) or re.sub(r".*zoneinfo/|'\)$", "", str(zone))
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # a zone without a name, or unknown here
        return UTC

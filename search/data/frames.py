"""Accepts tables in memory: pandas and polars frames, NumPy arrays."""

from typing import TYPE_CHECKING, Any

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
    sparse = {n: t.subtype for n, t in frame.dtypes.items() if isinstance(t, pd.SparseDtype)}
    return frame.astype(sparse) if sparse else frame

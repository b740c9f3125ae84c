"""Tables that are in memory already: pandas and polars frames, NumPy arrays."""

from typing import TYPE_CHECKING, Any

from search.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd


def to_pandas(data: Any) -> "pd.DataFrame":
    """Return a table as a pandas frame of named columns; the rows' labels are no column.

    Parameters
    ----------
    data
        A frame of pandas', a frame of another library's with ``to_pandas``, as polars has it, or an
        array of shape (n_rows, n_columns), whose columns are named x0, x1, ….

    Raises
    ------
    UsageError
        When it is none of these.
    DataError
        When it has no rows, or two columns of one name.
    """
    import numpy as np
    import pandas as pd

    if isinstance(data, np.ndarray):
        if data.ndim != 2:  # noqa: PLR2004 a table
            raise UsageError(f"an array of shape {data.shape} is no table: give rows and columns")
        frame = pd.DataFrame(data, columns=[f"x{place}" for place in range(data.shape[1])])
    elif isinstance(data, pd.DataFrame):
        frame = data
    elif hasattr(data, "to_pandas"):
        frame = data.to_pandas()
    else:
        raise UsageError(
            f"data of type {type(data).__name__} is no table: give a path, a pandas or polars "
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

"""Merges close values of numeric columns, so that trees of large tables grow faster.

Growing a tree is mostly sorting. A column with few distinct values is sorted faster, and a tree
that may split it at a few hundred places is not worse than one that may split it anywhere
(docs/search.md has the measurements).
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

# Values are merged in tables with at least this many rows, in columns with more distinct values
# than this.
_MIN_ROWS, _MANY_VALUES = 30_000, 10_000
# Number of values that are left of a column.
_LEFT = 512


def merge_values(X: "pd.DataFrame", before: "pd.DataFrame | None" = None) -> "pd.DataFrame":
    """Return the rows with the values of some columns replaced by a near value of the same column.

    The new values are quantiles of the column, and each value is replaced by the nearest of them.
    As trees split halfway between two values, a tree that is grown on the new rows sends the
    original training rows the same way. Columns of whole numbers are left as they are, because
    each number may mean something else, as in an identifier or a code.

    Parameters
    ----------
    X : float32 frame of shape (n_rows, n_features)
        The training rows. NaN stays NaN.
    before
        Merged rows of the same table in another encoding. Columns of the same name hold the same
        values there, and are taken from it.

    Returns
    -------
    `X` itself, if no column is changed
    """
    import pandas as pd

    if len(X) < _MIN_ROWS:
        return X
    values, changed = X.to_numpy(), dict[int, NDArray[np.float32]]()
    for column, name in enumerate(X.columns):
        if before is not None and name in before.columns:
            merged = before[name].to_numpy()
            if not np.array_equal(merged, values[:, column], equal_nan=True):
                changed[column] = merged
        elif (kept := _kept_values(values[:, column])) is not None:
            changed[column] = _nearest(values[:, column], kept)
    if not changed:
        return X
    values = values.copy()
    for column, merged in changed.items():
        values[:, column] = merged
    return pd.DataFrame(values, index=X.index, columns=X.columns)


def _kept_values(column: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return the values to keep, in increasing order; ``None`` to keep all."""
    ordered = np.sort(column[~np.isnan(column)])
    n_distinct = np.count_nonzero(np.diff(ordered)) + 1
    if n_distinct <= _MANY_VALUES or (ordered == np.floor(ordered)).all():
        return None
    return np.unique(ordered[np.linspace(0, len(ordered) - 1, _LEFT).astype(np.intp)])


def _nearest(column: NDArray[np.float32], kept: NDArray[np.float32]) -> NDArray[np.float32]:
    """Replace each value by the nearest kept one, by the smaller one if two are equally near."""
    # Trees compute their thresholds in float64 as well.
    exact = kept.astype(np.float64)
    borders = (exact[1:] + exact[:-1]) / 2
    nearest = kept[np.searchsorted(borders, column, side="left")]
    return np.where(np.isnan(column), column, nearest)

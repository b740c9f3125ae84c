"""Validation of the sample weights and groups that are given to an estimator's `fit`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.data.roles import dense_ranks
from search.study.spec import StudySpec

Array = NDArray[Any]


def weights_of(sample_weight: Any, n_rows: int) -> Array | None:
    """Return the checked weights, shape (n_rows,); raise `ValueError` if they are invalid."""
    from sklearn.utils.validation import _check_sample_weight

    if sample_weight is None:
        return None
    weights: Array = _check_sample_weight(
        sample_weight, np.empty((n_rows, 0)), dtype=np.float64, ensure_non_negative=True
    )
    if not weights.any():
        raise ValueError("sample_weight is 0 in every row")
    return weights


def groups_of(groups: Any, n_rows: int) -> Array | None:
    """Return the number of each row's group, shape (n_rows,); raise `ValueError` if invalid."""
    import pandas as pd

    if groups is None:
        return None
    values = np.asarray(groups)
    if values.shape != (n_rows,):
        raise ValueError(f"groups has shape {values.shape}, but there are {n_rows} rows")
    missing = int(pd.isna(values).sum())
    if missing:
        raise ValueError(f"groups is missing in {missing} rows: fill in a value")
    found = dense_ranks(values.astype(str) if values.dtype == object else values)
    if not found.any():
        raise ValueError("all rows belong to one group: scoring needs at least two groups")
    return found


def folds_for(groups: Array | None) -> int:
    """Return the default number of folds, or the number of groups if that is smaller."""
    default = int(StudySpec.model_fields["folds"].default)
    return default if groups is None else min(default, int(groups.max()) + 1)

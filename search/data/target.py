"""The target: a regression or a classification, and its values as forests take them."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from search.errors import DataError, UsageError
from search.types import Task

if TYPE_CHECKING:
    import pandas as pd

# Integers with at most so many distinct values are taken for classes.
_MAX_INTEGER_CLASSES = 10
# Up to here a float is the whole number that it says.
_WHOLE = 2**53


def rows_with_target(table: "pd.DataFrame", target: str) -> NDArray[np.bool_]:
    """Return which rows have a target; raise `DataError` where none has."""
    present = np.asarray(table[target].notna())
    if not present.any():
        raise DataError(f"all {len(table)} values of the target '{target}' are missing")
    return present


def plain_target(target: "pd.Series") -> "pd.Series":
    """Give the target the type that its present values have: holes and decimals made objects."""
    target = target.infer_objects()
    if isinstance(target.iloc[0], Decimal):
        return target.astype(np.float64)
    return target


def detect_task(target: "pd.Series") -> Task:
    """Tell a classification from a regression.

    Text, categories and booleans are classes, and so are numbers with two values and integers with
    at most ten; other numbers are a regression.
    """
    import pandas as pd

    if pd.api.types.is_bool_dtype(target) or not pd.api.types.is_numeric_dtype(target):
        return "classification"
    values = target.unique()
    numbers = np.asarray(values, dtype=np.float64)
    whole = bool((np.floor(numbers) == numbers).all())
    few = len(values) <= (_MAX_INTEGER_CLASSES if whole else 2)
    return "classification" if few and len(values) < len(target) else "regression"


def encode_target(target: "pd.Series", task: Task) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return the values, and the classes that they are numbers of; ``None`` for a regression.

    Raises
    ------
    UsageError, DataError
        When the task does not fit the target, or there is nothing to learn.
    """
    import pandas as pd

    name = target.name
    if target.nunique() == 1:
        value = target.iloc[0]
        rows = f"all {len(target)} rows that have one"
        raise DataError(f"the target '{name}' is {value!s} in {rows}: nothing to learn")
    if pd.api.types.is_numeric_dtype(target):
        count = int(np.isinf(target.to_numpy(dtype=np.float64)).sum())
        if count:
            raise DataError(
                f"the target '{name}' has {count} infinite values: leave those rows out"
            )
    if task == "regression":
        if not pd.api.types.is_numeric_dtype(target) and not pd.api.types.is_bool_dtype(target):
            example = next(str(v) for v in target)
            msg = f"--task regression: the target '{name}' is not a number ('{example[:40]}')"
            raise UsageError(msg)
        return target.to_numpy(dtype=np.float64), None
    plain = target.astype(object)
    if not pd.api.types.is_numeric_dtype(target) and not pd.api.types.is_bool_dtype(target):
        plain = plain.map(str)
    values = plain.to_numpy()
    if pd.api.types.is_bool_dtype(target):
        values = values.astype(bool)
    elif pd.api.types.is_numeric_dtype(target):
        whole = pd.api.types.is_integer_dtype(target)
        values = target.to_numpy(dtype=np.int64 if whole else np.float64)
        if not whole:
            # scikit-learn takes no fractions for classes: they become texts.
            fit = (values % 1 == 0).all() and (np.abs(values) < _WHOLE).all()
            values = values.astype(np.int64 if fit else str)
    else:
        values = values.astype(str)
    classes, codes = np.unique(values, return_inverse=True)
    if len(classes) > len(values) // 2:
        msg = (
            f"the target '{name}' has {len(classes)} classes in {len(values)} rows: "
            "too many to learn; choose another with --target"
        )
        raise DataError(msg)
    return codes.astype(np.int64), classes

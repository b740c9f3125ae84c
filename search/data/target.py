"""The target: detects regression or classification, and encodes the values for forests."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import groupby
from shlex import quote
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from search.data.numbers import BadCells
from search.errors import DataError, UsageError
from search.formatting import shorten
from search.types import Task

if TYPE_CHECKING:
    import pandas as pd

# Integers with at most this many distinct values are classes.
_MAX_INTEGER_CLASSES = 10
# Classes that a message lists.
_MOST_LISTED = 10
# All whole numbers below this limit are represented exactly as float64.
_EXACT_FLOATS = 2**53


def rows_with_target(table: "pd.DataFrame", target: str) -> NDArray[np.bool_]:
    """Return a boolean mask of the rows with a target; raise `DataError` if there are none."""
    present = np.asarray(table[target].notna())
    if not present.any():
        raise DataError(f"all {len(table)} values of the target '{target}' are missing")
    return present


def infer_target_type(target: "pd.Series") -> "pd.Series":
    """Convert a target without missing values to the type of its values.

    Missing values and decimals had made it a column of objects.
    """
    target = target.infer_objects()
    if isinstance(target.iloc[0], Decimal):
        return target.astype(np.float64)
    return target


def detect_task(target: "pd.Series") -> Task:
    """Return "classification" or "regression".

    Texts, categories and booleans are classes. So are numbers with at most two distinct values, and
    whole numbers with at most ten. All other numbers are a regression.
    """
    import pandas as pd

    if pd.api.types.is_bool_dtype(target) or not pd.api.types.is_numeric_dtype(target):
        return "classification"
    values = target.unique()
    numbers = np.asarray(values, dtype=np.float64)
    whole = bool((np.floor(numbers) == numbers).all())
    few = len(values) <= (_MAX_INTEGER_CLASSES if whole else 2)
    return "classification" if few and len(values) < len(target) else "regression"


def check_bad_target(target: str, bad: BadCells, task: Task | None) -> None:
    """Raise `DataError` if a target is a number, but not in every row.

    Parameters
    ----------
    bad
        The cells that are not numbers.
    task
        ``None`` to detect it: a few distinct numbers beside other cells are classes.
    """
    is_regression = task == "regression" or (task is None and bad.n_numbers > _MAX_INTEGER_CLASSES)
    if is_regression:
        raise DataError(
            f"the target '{target}' is a number, but not in every row: {bad}; correct such cells, "
            f"or leave their rows out with --na {quote(bad.first)}"
        )


def encode_target(target: "pd.Series", task: Task) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Encode the target for a forest.

    Parameters
    ----------
    target
        Its index is the number of the row in the table, from 0.

    Returns
    -------
    y : array of shape (n_rows,)
        float64 for a regression, int64 indices into `classes` for a classification.
    classes : array of shape (n_classes,), or None
        The sorted classes; ``None`` for a regression.

    Raises
    ------
    UsageError
        When the task is regression and the target is not a number.
    DataError
        When the target is constant, infinite, or has more classes than can be learned.
    """
    import pandas as pd

    name = target.name
    if target.nunique() == 1:
        value = target.iloc[0]
        raise DataError(
            f"the target '{name}' is {value!s} in all {len(target)} rows that have one: nothing to "
            "learn"
        )
    if pd.api.types.is_numeric_dtype(target):
        infinite = np.flatnonzero(np.isinf(target.to_numpy(dtype=np.float64)))
        if len(infinite):
            raise DataError(
                f"the target '{name}' has {len(infinite):,} infinite values, the first in row "
                f"{target.index[infinite[0]] + 1:,}: leave these rows out"
            )
    if task == "regression":
        return _as_numbers(target), None
    if pd.api.types.is_bool_dtype(target):
        values = target.astype(object).to_numpy().astype(bool)
    elif pd.api.types.is_numeric_dtype(target):
        whole = pd.api.types.is_integer_dtype(target)
        values = target.to_numpy(dtype=np.int64 if whole else np.float64)
        if not whole:
            # scikit-learn rejects fractions as classes: they become text.
            is_exact = (values % 1 == 0).all() and (np.abs(values) < _EXACT_FLOATS).all()
            values = values.astype(np.int64 if is_exact else str)
    else:
        values = target.astype(object).map(str).to_numpy()
    # NumPy sorts texts slowly: sort the distinct ones only.
    rows, distinct = pd.factorize(values)
    if distinct.dtype == object:
        distinct = distinct.astype(str)
    classes, ranks = np.unique(distinct, return_inverse=True)
    codes = ranks[rows]
    if len(classes) > len(values) // 2:
        msg = (
            f"the target '{name}' has {len(classes)} classes in {len(values)} rows: "
            "too many to learn; choose another with --target"
        )
        raise DataError(msg)
    return codes.astype(np.int64), classes


def _as_numbers(target: "pd.Series") -> NDArray[np.float64]:
    """Return a target as numbers, also if they are text."""
    import pandas as pd

    is_number = pd.api.types.is_numeric_dtype(target) or pd.api.types.is_bool_dtype(target)
    numbers = target if is_number else pd.to_numeric(target.astype(object), errors="coerce")
    bad = np.flatnonzero(numbers.isna())
    if len(bad):
        raise UsageError(
            f"--task regression: the target '{target.name}' is not a number in {len(bad):,} of "
            f"{len(target):,} rows, the first is '{shorten(str(target.iloc[bad[0]]))}' in row "
            f"{target.index[bad[0]] + 1:,}"
        )
    return np.asarray(numbers, dtype=np.float64)


def choose_positive(
    target: str, counts: Mapping[str, int], classes: Sequence[str], asked: str | None
) -> str | None:
    """Return the class that scores such as f1 and recall are about: the rarer one of two.

    Parameters
    ----------
    counts
        Number of rows by class.
    classes
        The sorted classes; empty for a regression. The last one is chosen if both are equally
        frequent, as in scikit-learn.
    asked
        The class that the user chose, or ``None``.

    Returns
    -------
    ``None`` if there are not two classes

    Raises
    ------
    UsageError
        If there is no such class, or no choice.
    """
    if len(classes) != 2:  # noqa: PLR2004
        if asked is not None:
            found = f"{len(classes)} classes" if classes else "numbers (a regression)"
            raise UsageError(
                f"--positive is for a target of two classes, but '{target}' has {found}: omit it"
            )
        return None
    first, last = classes
    if asked is None:
        return first if counts[first] < counts[last] else last
    if asked not in classes:
        raise UsageError(
            f"--positive '{asked}' is not a class of '{target}': choose '{first}' or '{last}'"
        )
    return asked


def list_classes(counts: Mapping[str, int], positive: str | None) -> str:
    """List classes with their numbers of rows, such as ``no (90 rows), yes (10 rows, positive)``.

    Parameters
    ----------
    counts
        Number of rows by class, in the order to list them. At most ten are listed.
    """
    names = list(counts)[:_MOST_LISTED]
    texts = [
        f"{shorten(name)} ({counts[name]:,} rows{', positive' if name == positive else ''})"
        for name in names
    ]
    more = len(counts) - len(names)
    return ", ".join([*texts, f"and {more:,} more"] if more else texts)


def similar_classes(counts: Mapping[str, int]) -> Iterator[str]:
    """Yield a sentence on each group of classes whose names differ only in case and spaces."""

    def plain(name: str) -> str:
        return "".join(name.split()).casefold()

    for _, group in groupby(sorted(counts, key=plain), plain):
        names = [f"'{shorten(name)}'" for name in group]
        if len(names) > 1:
            yield (
                f"the classes {', '.join(names[:-1])} and {names[-1]} differ only in case and "
                "spaces: if they are one class, give them one name in the table"
            )

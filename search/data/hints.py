"""Points out columns that a study should perhaps not learn from; it changes nothing itself.

Only NumPy and pandas are used, on a part of the rows: `launch` starts faster without scikit-learn,
and a large table must not delay it.
"""

import re
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from search.data.dataset import Dataset

if TYPE_CHECKING:
    import pandas as pd

# Chance can make a column of fewer rows look like an identifier or like the target.
_MIN_ROWS = 100
# Rows that are searched for repeated values, and rows on which the target is predicted.
_MOST_ROWS, _SAMPLE = 100_000, 2000
_MOST_COLUMNS, _MOST_HINTS = 500, 10
# Texts with more words are prose, which can be learned from even if all texts are distinct.
_MOST_WORDS = 3
# Distinct integers are an identifier if as many random ones would have this many equal pairs.
_EQUAL_PAIRS = 5
_ID_NAME = re.compile(r"(^|[^a-zA-Z])(id|Id|ID)$|[a-z](Id|ID)$")
# Share of the target's variance that is predicted on rows that were not used to predict it.
_REVEALING = 0.99
# Share of the sampled rows that a prediction is fitted on.
_FITTED = 0.5

Array = NDArray[Any]


def column_hints(dataset: Dataset) -> tuple[str, ...]:
    """Return a sentence about each feature that should perhaps be dropped.

    These are constant columns, identifiers, and columns that alone predict the target, in the
    training rows. The first 500 columns are examined, and at most ten of them are named.
    """
    if len(dataset.y) < _MIN_ROWS:
        return ()
    names, sample = dataset.features.columns[:_MOST_COLUMNS], _Sample.of(dataset)
    hints = [hint for name in names if (hint := _hint(dataset, name, sample)) is not None]
    more = len(hints) - _MOST_HINTS
    rest = (f"{more} more columns are constant, identifiers, or reveal the target",)
    return (*hints[:_MOST_HINTS], *(rest if more > 0 else ()))


@dataclass(frozen=True)
class _Sample:
    """Some rows, on which the target is predicted.

    Attributes
    ----------
    rows : int array of shape (n_rows,)
        Indices of the rows.
    fitted : bool array of shape (n_rows,)
        Whether a row is fitted, or predicted. Rows of a group, and equal rows, are together.
    """

    rows: Array
    fitted: Array

    @classmethod
    def of(cls, dataset: Dataset) -> "_Sample":
        random, roles, n_rows = np.random.default_rng(0), dataset.roles, len(dataset.y)
        rows = random.choice(n_rows, min(n_rows, _SAMPLE), replace=False)
        bound = [units for units in (roles.groups, roles.times) if units is not None]
        units = bound[0] if bound else dataset.units
        chosen = rows if units is None else units[rows]
        return cls(rows, (random.random(chosen.max() + 1) < _FITTED)[chosen])


def _hint(dataset: Dataset, name: str, sample: _Sample) -> str | None:
    column, description = dataset.features[name], dataset.description
    target, remedy = description.target, f"--drop {quote(name)}"
    if _is_constant(column):
        return f"column '{name}' has the same value in every row: leave it out with {remedy}"
    if name == description.time:  # its values are distinct, and rows near in time are alike
        return None
    if _is_identifier(column):
        return (
            f"column '{name}' has a distinct value in every row, as identifiers have, from which "
            f"new rows cannot be predicted: leave it out with {remedy}"
        )
    is_category = name in description.categorical
    if _reveals(column.iloc[sample.rows], dataset.y[sample.rows], sample.fitted, is_category):
        return (
            f"column '{name}' alone predicts '{target}' almost perfectly: if it is not known "
            f"before '{target}', leave it out with {remedy}"
        )
    return None


def _is_constant(column: "pd.Series") -> bool:
    # The first rows of most columns differ.
    return all(part.nunique(dropna=False) == 1 for part in (column.head(_SAMPLE), column))


def _is_identifier(column: "pd.Series") -> bool:
    """Whether a column holds a distinct integer, or a distinct short text, in every row."""
    import pandas as pd

    if not all(column.head(rows).is_unique for rows in (_SAMPLE, _MOST_ROWS)):
        return False
    values = column.head(_MOST_ROWS).dropna()
    if pd.api.types.is_integer_dtype(values):
        # Measurements may be distinct, too, if they are spread over a wide range.
        span = int(values.max()) - int(values.min())
        is_dense = len(values) ** 2 / 2 / span > _EQUAL_PAIRS
        return is_dense or _ID_NAME.search(str(column.name)) is not None
    texts = values.head(_SAMPLE)
    return all(isinstance(text, str) for text in texts) and _are_names(texts.astype("str"))


def _are_names(texts: "pd.Series") -> bool:
    """Whether texts are not numbers, dates or prose."""
    import pandas as pd
    from pandas.tseries.api import guess_datetime_format

    is_prose = texts.str.count(r"\S+").median() > _MOST_WORDS
    is_number = pd.to_numeric(texts, errors="coerce").notna().any()
    return not (is_prose or is_number) and guess_datetime_format(texts.iloc[0]) is None


def _reveals(column: "pd.Series", y: Array, fitted: Array, is_category: bool) -> bool:
    """Whether a column predicts the target of the other rows almost perfectly.

    A value predicts the mean target of the fitted rows with the same value. Between two numbers,
    the target is interpolated. Classes are predicted by their indices.
    """
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(column):  # rows near in time are alike
        return False
    is_number = pd.api.types.is_numeric_dtype(column) and not is_category
    if is_number:
        x = column.to_numpy(dtype=np.float64, na_value=np.nan)
        # Missing values are a value of their own, below all others.
        x = np.where(np.isnan(x), -float(np.finfo(np.float32).max), x)
    else:
        x = pd.factorize(column)[0].astype(np.float64)
    truth = y[~fitted]
    if not 0 < len(truth) < len(y):
        return False
    values, places = np.unique(x[fitted], return_inverse=True)
    means = np.bincount(places, y[fitted]) / np.bincount(places)
    predicted = np.interp(x[~fitted], values, means)
    if not is_number:
        predicted[~np.isin(x[~fitted], values)] = y[fitted].mean()
    unexplained = ((truth - predicted) ** 2).sum()
    return bool(unexplained < (1 - _REVEALING) * ((truth - truth.mean()) ** 2).sum())

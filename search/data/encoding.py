"""Encodes a table as numbers, in one of several ways that a study can choose from.

A skrub `TableVectorizer` turns dates, free text and other columns into numbers. It leaves
categories as they are, and columns of measured numbers do not pass through it. A scikit-learn
`ColumnTransformer` then encodes the categories. No encoding of categories is the best on every
table, so a study searches over those of `encodings_for`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from search.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

Encoding = Literal["ordinal", "target", "ordinal+target", "onehot"]
DEFAULT: Encoding = "ordinal"
# Row numbers to learn an encoding from, and row numbers to encode with it.
Splits = Sequence[tuple[NDArray[Any], NDArray[Any]]]

# Number of rows from which the kind of a text column is inferred.
_SAMPLE = 2000
# A text column holds free text if at least this share of its values is distinct, and they have at
# least this many words on average. Names and codes have fewer words, and categories repeat.
_MIN_DISTINCT, _MIN_WORDS = 0.5, 4
# A category with more levels is not one-hot encoded; nor are any if they make more columns.
_MAX_LEVELS, _MAX_ONE_HOT = 30, 100
# Maximum number of columns that the target encoding of several classes may make.
_MAX_TARGET_COLUMNS = 64
# Whole numbers up to this one are exact as float32.
_MAX_CODE = 2**24
_FOLDS = 5
# Parts into which rows with times are divided: each is encoded by those before it.
_PERIODS = 10


@contextmanager
def default_output() -> Iterator[None]:
    """Let transformers return their default output, whatever scikit-learn is configured for."""
    from sklearn import config_context

    with config_context(transform_output="default"):
        yield


@dataclass(frozen=True)
class Encoded:
    """Training rows as numbers, and the fitted transformers that encode other rows.

    Attributes
    ----------
    X : float32 data frame of shape (n_rows, n_features)
    steps
        Steps of a scikit-learn pipeline that encodes raw rows.
    sources
        Columns of `X` by the raw column that they encode.
    """

    X: "pd.DataFrame"
    steps: tuple[tuple[str, Any], ...]
    sources: Mapping[str, list[str]]

    @default_output()
    def transform(self, features: "pd.DataFrame") -> "pd.DataFrame":
        """Encode raw rows as the pipeline does."""
        rows = features
        for _, step in self.steps:
            rows = step.transform(rows)
        return rows


@dataclass(frozen=True)
class Vectorized:
    """A table whose numbers, dates and free texts are encoded, but not its categories.

    Attributes
    ----------
    step
        The fitted transformer of raw rows.
    vectorizer
        The fitted skrub `TableVectorizer` that is `step`, or a part of it.
    sources
        Columns of `rows` by the raw column that they encode.
    rows
        The training rows: columns of numbers, and columns of categories.
    texts, codes
        Names of the columns of free text, and of whole numbers that are categories.
    levels
        Number of levels of each category by name, codes included.
    """

    step: Any
    vectorizer: Any
    sources: Mapping[str, list[str]]
    rows: "pd.DataFrame"
    texts: tuple[str, ...]
    codes: tuple[str, ...]
    levels: Mapping[str, int]

    @property
    def one_hot(self) -> tuple[str, ...]:
        """Names of the categories that have few enough levels to be one-hot encoded."""
        return tuple(name for name, levels in self.levels.items() if levels <= _MAX_LEVELS)


@default_output()
def vectorize(
    features: "pd.DataFrame", categorical: Sequence[str] = (), *, numbers: bool = False
) -> Vectorized:
    """Encode everything but the categories of a table.

    Parameters
    ----------
    features
        The training rows.
    categorical
        Columns that hold categories, whatever their values look like.
    numbers
        Whether measured numbers pass through the `TableVectorizer`, too. It does not change them,
        but has several objects for each column, which take most of the time to make and to save a
        model of many columns.
    """
    from pandas.api.types import is_bool_dtype, is_numeric_dtype
    from skrub import ApplyToCols, StringEncoder, ToFloat

    kinds = features[list(categorical)].dtypes.items()
    codes = [name for name, kind in kinds if is_numeric_dtype(kind) and not is_bool_dtype(kind)]
    _check_codes(features, codes)
    texts, categories = _text_columns(features.drop(columns=list(categorical)))
    categories += [name for name in categorical if name not in codes]
    encoders = [(StringEncoder(random_state=0), texts), (ToFloat(), codes)]
    vectorizer = make_vectorizer([(encoder, names) for encoder, names in encoders if names])
    unchanged = [] if numbers else measured_numbers(features, categorical)
    others = list(features.columns.difference(unchanged, sort=False))
    step = ApplyToCols(vectorizer, others) if unchanged else vectorizer
    # skrub cleans texts value by value, which takes seconds on large tables, but categories by
    # their levels.
    known = features.astype(dict.fromkeys(categories, "category"))
    rows = step.fit_transform(known)
    vectorizer = step.transformer_ if unchanged else step
    # An output has another name if a column of numbers has its name.
    names = vectorizer.all_outputs_
    given = dict(zip(names, step.created_outputs_ if unchanged else names, strict=True))
    # skrub names an output for an empty column, but drops it from the encoded table.
    made = {
        name: [given[output] for output in outputs if output in given]
        for name, outputs in vectorizer.input_to_outputs_.items()
    }
    sources = {name: [name] for name in unchanged} | {n: made[n] for n in others if made[n]}
    found = (*(n for n in rows if rows[n].dtype.kind not in "iuf"), *codes)
    levels = {name: int(rows[name].nunique()) for name in found if name in rows}
    return Vectorized(step, vectorizer, sources, rows, tuple(texts), tuple(codes), levels)


def measured_numbers(features: "pd.DataFrame", categorical: Sequence[str] = ()) -> list[str]:
    """Return the names of the columns of measured numbers that have values: they need no encoding.

    Parameters
    ----------
    categorical
        Columns that hold categories, whatever their values look like.
    """
    kinds = features.dtypes.items()
    numbers = [n for n, kind in kinds if isinstance(kind, np.dtype) and kind.kind in "iuf"]
    measured = features[[name for name in numbers if name not in categorical]]
    return list(measured.columns[measured.notna().any()])


def make_vectorizer(specific: Sequence[tuple[Any, list[str]]] = ()) -> Any:
    """Return an unfitted `TableVectorizer` that leaves categories as they are.

    Parameters
    ----------
    specific
        Transformers of single columns, each with the names of its columns.
    """
    from skrub import TableVectorizer

    return TableVectorizer(
        low_cardinality="passthrough",
        high_cardinality="passthrough",
        specific_transformers=list(specific),
    )


def _check_codes(features: "pd.DataFrame", codes: Sequence[str]) -> None:
    for name in codes:
        largest = features[name].abs().max()
        if largest > _MAX_CODE:
            raise DataError(
                f"--categorical '{name}' holds {largest:.0f}: codes above {_MAX_CODE} cannot be "
                "told apart as numbers; store them as text"
            )


def _text_columns(features: "pd.DataFrame") -> tuple[list[str], list[str]]:
    """Return the names of the columns of free text, and of the text columns that are categories.

    Texts that skrub reads as numbers or dates in a sample of the rows are neither.
    """
    strings = [name for name in features if str(features[name].dtype) == "str"]
    if not strings:
        return [], []
    chosen = np.unique(np.linspace(0, len(features) - 1, _SAMPLE).astype(int))
    sample = make_vectorizer().fit_transform(features[strings].iloc[chosen])
    remaining = [name for name in strings if name in sample and str(sample[name].dtype) == "str"]
    texts = [name for name in remaining if _is_free_text(features[name])]
    return texts, [name for name in remaining if name not in texts]


def _is_free_text(column: "pd.Series") -> bool:
    values = column.dropna()
    if not len(values) or values.nunique() < _MIN_DISTINCT * len(values):
        return False
    words = values.iloc[:: max(1, len(values) // _SAMPLE)].str.split().str.len()
    return bool(words.mean() >= _MIN_WORDS)


def encodings_for(table: Vectorized, n_classes: int) -> tuple[Encoding, ...]:
    """Return the encodings that may differ in their results, the default first.

    Categories of two levels are the same in every encoding: the result is empty if no category has
    more levels.

    Parameters
    ----------
    n_classes
        0 for regression.
    """
    if max(table.levels.values(), default=0) <= 2:  # noqa: PLR2004
        return ()
    found = [DEFAULT]
    if _target_columns(n_classes) * len(table.levels) <= _MAX_TARGET_COLUMNS:
        found += ["target", "ordinal+target"]
    few = [table.levels[name] for name in table.one_hot]
    if max(few, default=0) > 2 and sum(few) <= _MAX_ONE_HOT:  # noqa: PLR2004
        found.append("onehot")
    return tuple(found)


def _target_columns(n_classes: int) -> int:
    """Return how many columns the target encoding of a category has."""
    return n_classes if n_classes > 2 else 1  # noqa: PLR2004


def count_columns(table: Vectorized, encoding: Encoding, n_classes: int) -> int:
    """Return the number of columns that `encode` makes of a table."""
    other = len(table.rows.columns) - len(table.levels)
    target = _target_columns(n_classes) * len(table.levels)
    if encoding == "onehot":
        missing = table.rows[list(table.one_hot)].isna().any()
        one_hot = sum(table.levels[name] + int(missing[name]) for name in table.one_hot)
        return other + one_hot + len(table.levels) - len(table.one_hot)
    ordinal = len(table.levels) if "ordinal" in encoding else 0
    return other + ordinal + (target if "target" in encoding else 0)


@default_output()
def encode(
    table: Vectorized,
    encoding: Encoding,
    y: NDArray[Any],
    n_classes: int,
    splits: Callable[[], Splits],
) -> Encoded:
    """Encode the categories of a table.

    Unknown categories and missing values become NaN in the ordinal encoding, zeros in the one-hot
    encoding. In the target encoding, unknown categories become the mean of the target, and missing
    values are a category of their own.

    Parameters
    ----------
    y : array of shape (n_rows,)
        Targets or class indices.
    n_classes
        0 for regression.
    splits
        Called if the target is used: the target encoding of a training row is learned from other
        rows, so that its own target does not leak into it (cross-fitting).
    """
    if not table.levels:
        return Encoded(to_float32(table.rows), (("table", table.step),), table.sources)
    encoder = _make_encoder(table, encoding, n_classes)
    targets = any(name == "target" for name, *_ in encoder.transformers)
    if targets:
        encoder.set_params(target__cv=splits())
    X = encoder.fit_transform(table.rows, y)
    if targets:
        # The row numbers are not needed any more, and would be saved with the model.
        encoder.set_params(target__cv=_FOLDS)
        encoder.named_transformers_["target"].set_params(cv=_FOLDS)
    made_of = _columns_made(encoder, list(X.columns), n_classes)
    sources = {
        name: [m for c in columns for m in made_of[c]] for name, columns in table.sources.items()
    }
    steps = (("table", table.step), ("categories", encoder))
    return Encoded(to_float32(X), steps, sources)


def select_columns(features: "pd.DataFrame", X: "pd.DataFrame") -> Encoded:
    """Encode a table of measured numbers, of which only the columns need to be selected.

    Parameters
    ----------
    X
        The table as float32.
    """
    from skrub import SelectCols

    names = list(features.columns)
    steps = (("table", SelectCols(names).fit(features)),)
    return Encoded(X, steps, {name: [name] for name in names})


def to_float32(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Return the rows as one float32 matrix, which `to_numpy` returns without a copy."""
    import pandas as pd

    return pd.DataFrame(rows.to_numpy(dtype=np.float32), columns=rows.columns, copy=False)


def _make_encoder(table: Vectorized, encoding: Encoding, n_classes: int) -> Any:
    """Return an unfitted `ColumnTransformer` that encodes the categories of a table."""
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

    kind = "multiclass" if n_classes > 2 else "binary" if n_classes else "continuous"  # noqa: PLR2004
    ordinal = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan, dtype=np.float32
    )
    target = TargetEncoder(target_type=kind)
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
    names, few = list(table.levels), list(table.one_hot)
    many = [name for name in names if name not in few]
    parts: dict[Encoding, list[tuple[str, Any, list[str]]]] = {
        "ordinal": [("ordinal", ordinal, names)],
        "target": [("target", target, names)],
        "ordinal+target": [("ordinal", ordinal, names), ("target", target, names)],
        "onehot": [("onehot", one_hot, few), ("ordinal", ordinal, many)],
    }
    used = [part for part in parts[encoding] if part[2]]
    encoder = ColumnTransformer(used, remainder="passthrough")
    return encoder.set_output(transform="pandas")


def _columns_made(encoder: Any, made: list[str], n_classes: int) -> dict[str, list[str]]:
    """Return the columns of a fitted encoder's output by the input column that they encode."""
    found: dict[str, list[str]] = {}
    for name, part, columns in encoder.transformers_:
        outputs = made[encoder.output_indices_[name]]
        if name == "onehot":
            widths = [len(levels) for levels in part.categories_]
        else:
            widths = [_target_columns(n_classes) if name == "target" else 1] * len(columns)
        first = 0
        for column, width in zip(columns, widths, strict=True):
            found.setdefault(column, []).extend(outputs[first : first + width])
            first += width
    return found


def cross_fitting(
    n_rows: int, units: NDArray[Any] | None = None, times: NDArray[Any] | None = None
) -> Splits:
    """Divide the training rows for the target encoding, so that no row is encoded with its target.

    Parameters
    ----------
    units : array of shape (n_rows,), optional
        Units from 0. Rows of one unit are encoded together, by the rows of other units.
    times : array of shape (n_rows,), optional
        Times of the rows. Each of ten periods is encoded by the rows before it; the rows of the
        first one by the other rows in it.
    """
    from sklearn.model_selection import GroupKFold, KFold

    rows, starts = np.arange(n_rows), []
    if times is not None:
        shares = np.arange(1, _PERIODS) / _PERIODS
        possible = np.unique(np.quantile(times, shares, method="nearest"))
        starts = [start for start in possible if (times < start).sum() >= _FOLDS]
    if times is None or not starts:
        if units is not None and units.max() >= _FOLDS - 1:
            return list(GroupKFold(_FOLDS).split(rows, groups=units))
        return list(KFold(_FOLDS, shuffle=True, random_state=0).split(rows))
    first = rows[times < starts[0]]
    inside = cross_fitting(len(first))
    splits = [(first[train], first[test]) for train, test in inside]
    for start, end in pairwise([*starts, np.inf]):
        splits.append((rows[times < start], rows[(start <= times) & (times < end)]))
    return splits

"""Dataset: a table turned into what forests grow on, and the rows held out from them."""

from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from search.errors import DataError, UsageError
from search.holdout import held_out, table_digest
from search.spec import DIABETES, Task
from search.table import read_table

if TYPE_CHECKING:
    import pandas as pd

MIN_ROWS = 10
# Integers with at most so many distinct values are taken for classes.
_MAX_INTEGER_CLASSES = 10
_NESTED = (list, tuple, dict, set, np.ndarray)


@dataclass(frozen=True)
class Dataset:
    """Features and target, divided into training rows and held-out rows.

    Attributes
    ----------
    features, held_out_features
        The raw table's rows without the target.
    y, held_out_y
        float64 for a regression; for a classification the index into `classes`, int64.
    classes
        The target's values, sorted; ``None`` for a regression.
    digest
        SHA-256 of the table's canonical values, all rows with a target.
    notes
        A sentence on each choice that was made for the user, and on rows left out.
    """

    source: str
    target: str
    task: Task
    features: "pd.DataFrame"
    y: NDArray[Any]
    held_out_features: "pd.DataFrame"
    held_out_y: NDArray[Any]
    classes: NDArray[Any] | None
    digest: str
    notes: tuple[str, ...] = ()

    @cached_property
    def _vectorized(self) -> tuple[Any, "pd.DataFrame"]:
        vectorizer = make_vectorizer()
        return vectorizer, vectorizer.fit_transform(self.features)

    @property
    def vectorizer(self) -> Any:
        """The skrub `TableVectorizer`, fitted on the training rows."""
        return self._vectorized[0]

    @property
    def X(self) -> "pd.DataFrame":
        """The training rows as float32 columns, shape (n_rows, n_features)."""
        return cast("pd.DataFrame", self._vectorized[1])

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 for a regression."""
        return 0 if self.classes is None else len(self.classes)

    @property
    def labels(self) -> NDArray[Any]:
        """The training rows' target as the raw table has it."""
        return self.y if self.classes is None else self.classes[self.y]


def make_vectorizer() -> Any:
    """Return an unfitted `TableVectorizer` whose columns suit trees.

    Categories become one ordinal column each, texts of many values 30 latent columns, dates their
    parts; unknown categories and missing values stay missing, which forests split on.
    """
    from sklearn.preprocessing import OrdinalEncoder
    from skrub import StringEncoder, TableVectorizer

    ordinal = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan, dtype=np.float32
    )
    text = StringEncoder(random_state=0)
    return TableVectorizer(low_cardinality=ordinal, high_cardinality=text)


def load_dataset(source: str, target: str | None, task: Task | None, share: float) -> Dataset:
    """Read a table and divide it.

    Parameters
    ----------
    share
        Share of the rows to hold out, 0 to 1.

    Raises
    ------
    UsageError
        When the target is none of the columns, or the task does not fit it.
    DataError
        When nothing can be learned from the table.
    """
    table = read_table(source)
    notes = []
    if target is None:
        target = str(table.columns[-1])
        if source != DIABETES:
            notes.append(f"target: '{target}', the last column of {source} (another: --target)")
    _check_target(table, target, source)
    present = table[target].notna().to_numpy()
    if not present.any():
        raise DataError(f"all {len(table)} values of the target '{target}' are missing")
    if not present.all():
        missing = int((~present).sum())
        notes.append(f"{missing} of {len(table)} rows have no '{target}' and are left out")
        table = table[present].reset_index(drop=True)
    table[target] = _plain_target(table[target])
    features = table.drop(columns=target)
    _check_features(features, source)
    chosen = task or detect_task(table[target])
    if task is None and source != DIABETES:
        notes.append(f"task: {chosen}, as '{target}' is (another: --task)")
    y, classes = _encode_target(table[target], chosen)
    out = held_out(features, share) if share else np.zeros(len(y), dtype=bool)
    _check_sides(y, out, share, classes)
    return Dataset(
        source=source,
        target=target,
        task=chosen,
        features=features[~out].reset_index(drop=True),
        y=y[~out],
        held_out_features=features[out].reset_index(drop=True),
        held_out_y=y[out],
        classes=classes,
        digest=table_digest(table),
        notes=tuple(notes),
    )


def _check_target(table: "pd.DataFrame", target: str, source: str) -> None:
    columns = [str(name) for name in table.columns]
    if target not in columns:
        near = get_close_matches(target, columns, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        shown = ", ".join(columns[:30]) + (", …" if len(columns) > len(columns[:30]) else "")
        raise UsageError(f"--target '{target}' is no column of {source}: {hint}There are {shown}")


def _plain_target(target: "pd.Series") -> "pd.Series":
    """Give the target the type that its present values have: holes and decimals made objects."""
    target = target.infer_objects()
    if isinstance(target.iloc[0], Decimal):
        return target.astype(np.float64)
    return target


def _check_features(features: "pd.DataFrame", source: str) -> None:
    if features.shape[1] == 0:
        raise DataError(f"{source} has no column beside the target: nothing to learn from")
    objects = features.select_dtypes(include="object", exclude="str")
    for name in objects.columns:
        nested = objects[name].map(lambda value: isinstance(value, _NESTED))
        if nested.any():
            kind = type(objects[name][nested].iloc[0]).__name__
            raise DataError(
                f"column '{name}' holds values of type {kind}: one value a cell, please"
            )
    for name, dtype in features.dtypes.items():
        if dtype.kind == "m" or str(dtype).startswith("period"):
            msg = f"column '{name}' holds {dtype}: store it as a number or as a date"
            raise DataError(msg)
    numbers = features.select_dtypes("number")
    for name in numbers.columns:
        values = numbers[name].to_numpy(dtype=np.float64, na_value=np.nan)
        # Trees compare in float32: what overflows there is infinite to them.
        huge = int((np.abs(values) > np.finfo(np.float32).max).sum())
        if huge:
            msg = f"column '{name}' has {huge} infinite values: replace them, or leave them empty"
            raise DataError(msg)
    if not features.notna().to_numpy().any():
        raise DataError(f"{source}: all values beside the target are missing")


def detect_task(target: "pd.Series") -> Task:
    """Tell a classification from a regression.

    Text, categories and booleans are classes, and so are numbers with two values and integers with
    at most ten; other numbers are a regression.
    """
    import pandas as pd

    if pd.api.types.is_bool_dtype(target) or not pd.api.types.is_numeric_dtype(target):
        return "classification"
    values = target.unique()
    whole = bool((np.asarray(values, dtype=np.float64) % 1 == 0).all())
    few = len(values) <= (_MAX_INTEGER_CLASSES if whole else 2)
    return "classification" if few and len(values) < len(target) else "regression"


def _encode_target(target: "pd.Series", task: Task) -> tuple[NDArray[Any], NDArray[Any] | None]:
    import pandas as pd

    name = target.name
    if target.nunique() == 1:
        value = target.iloc[0]
        rows = f"all {len(target)} rows that have one"
        raise DataError(f"the target '{name}' is {value!s} in {rows}: nothing to learn")
    if task == "regression":
        if not pd.api.types.is_numeric_dtype(target) and not pd.api.types.is_bool_dtype(target):
            example = next(str(v) for v in target)
            msg = f"--task regression: the target '{name}' is not a number ('{example[:40]}')"
            raise UsageError(msg)
        y = target.to_numpy(dtype=np.float64)
        if not np.isfinite(y).all():
            count = int((~np.isfinite(y)).sum())
            raise DataError(
                f"the target '{name}' has {count} infinite values: leave those rows out"
            )
        return y, None
    plain = target.astype(object)
    if not pd.api.types.is_numeric_dtype(target) and not pd.api.types.is_bool_dtype(target):
        plain = plain.map(str)
    values = plain.to_numpy()
    if pd.api.types.is_bool_dtype(target):
        values = values.astype(bool)
    elif pd.api.types.is_numeric_dtype(target):
        values = np.asarray(target.to_numpy(dtype=np.float64))
        if (values % 1 == 0).all():
            values = values.astype(np.int64)
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


def _check_sides(
    y: NDArray[Any], out: NDArray[np.bool_], share: float, classes: NDArray[Any] | None
) -> None:
    sides = {"training": y[~out], "hold-out": y[out]} if share else {"training": y}
    for side, values in sides.items():
        way_out = "give more rows" if not share else "train on every row with --holdout 0"
        if len(values) < MIN_ROWS:
            rows = f"{len(values)} of {len(y)} rows"
            raise DataError(f"{rows} fall to the {side} side, fewer than {MIN_ROWS}: {way_out}")
        if classes is not None and share:
            missing = np.setdiff1d(np.arange(len(classes)), values)
            if len(missing):
                label = classes[missing[0]]
                if classes.dtype.kind == "i":
                    way_out += ", or take it as a number with --task regression"
                raise DataError(f"no row of class '{label}' falls to the {side} side: {way_out}")
        if side == "training" and len(np.unique(values)) == 1:
            raise DataError(f"the target is constant on the {side} side: {way_out}")

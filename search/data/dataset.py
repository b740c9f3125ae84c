"""`Dataset`: the features and the target of a table, divided into training and held-out rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from shlex import quote
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from search.data.addresses import DIABETES, TableAddress, resolve_table
from search.data.dates import read_dates
from search.data.description import DataDescription, ResolvedDescription
from search.data.encoding import (
    DEFAULT,
    Encoded,
    Encoding,
    Splits,
    Vectorized,
    cross_fitting,
    encode,
    encodings_for,
    measured_numbers,
    select_columns,
    to_float32,
    vectorize,
)
from search.data.holdout import digest_and_row_hashes, duplicate_codes, select_held_out
from search.data.limits import ALL_FREE_MEMORY, Limits
from search.data.merging import merge_values
from search.data.missing import NOTES, mark_missing
from search.data.numbers import Numbers, Rules, read_numbers
from search.data.outliers import extreme_target_notes, footer_notes
from search.data.roles import Roles, check_column, read_roles
from search.data.table import read_table
from search.data.target import (
    check_bad_target,
    choose_positive,
    detect_task,
    encode_target,
    infer_target_type,
    list_classes,
    rows_with_target,
    similar_classes,
)
from search.errors import DataError, UsageError
from search.types import Task

if TYPE_CHECKING:
    import pandas as pd

# Rows that the training set and the hold-out each need at least.
MIN_ROWS = 10
# Limits in characters.
_MAX_NAME_LENGTH = 500
_MAX_TEXT_LENGTH = 1_000_000
# Held while rows are encoded: workers' rows are encoded in a thread of their own.
_ENCODING = RLock()
_NESTED_TYPES = (list, tuple, dict, set, np.ndarray)


@dataclass(frozen=True)
class Dataset:
    """Features and target, divided into training rows and held-out rows.

    Attributes
    ----------
    description
        The table and the roles of its columns.
    features, held_out_features
        Columns of the raw table, without the target, weights, groups and dropped columns.
    y, held_out_y
        float64 for a regression, int64 indices into `classes` for a classification.
    classes
        The sorted classes; ``None`` for a regression.
    roles, held_out_roles
        Weights, groups and times of the rows.
    held_out_dropped
        Dropped columns of the held-out rows: an older model that uses them can still be judged.
    notes
        A sentence about each default that was chosen, and about rows that were left out.
    rewritten
        Rules by column: text of these features was rewritten before it was read as numbers or
        dates.
    vectorizes_numbers
        Whether measured numbers pass through a `TableVectorizer`, too, which does not change them.
    """

    description: ResolvedDescription
    features: "pd.DataFrame"
    y: NDArray[Any]
    held_out_features: "pd.DataFrame"
    held_out_y: NDArray[Any]
    classes: NDArray[Any] | None
    roles: Roles = Roles()
    held_out_roles: Roles = Roles()
    held_out_dropped: "pd.DataFrame | None" = None
    notes: tuple[str, ...] = ()
    rewritten: Mapping[str, Rules] = field(default_factory=dict)
    vectorizes_numbers: bool = False

    @property
    def task(self) -> Task:
        """Whether the target is a number or a class."""
        return self.description.task

    @cached_property
    def vectorized(self) -> Vectorized:
        """The training rows before their categories are encoded."""
        from threadpoolctl import threadpool_limits

        # Several threads would add in another order, which changes the last bits.
        with threadpool_limits(1):
            return vectorize(
                self.features, self.description.categorical, numbers=self.vectorizes_numbers
            )

    @cached_property
    def encodings(self) -> tuple[Encoding, ...]:
        """The encodings to choose from, the default first; empty if they would not differ."""
        return () if self.is_numeric else encodings_for(self.vectorized, self.n_classes)

    def encode(self, encoding: Encoding | None = None) -> Encoded:
        """Encode the training rows; ``None`` for the default encoding.

        The rows in the default encoding and in the last other one are cached.
        """
        if self.is_numeric:
            return select_columns(self.features, self.X)
        name = encoding or DEFAULT
        with _ENCODING:
            if name not in self._encoded:
                _keep_default(self._encoded)
                self._encoded[name] = self._encode(name)
            return self._encoded[name]

    @cached_property
    def _encoded(self) -> dict[Encoding, Encoded]:
        return {}

    def _encode(self, encoding: Encoding) -> Encoded:
        return encode(
            self.vectorized, encoding, self.y, self.n_classes, lambda: self._cross_fitting
        )

    @cached_property
    def _cross_fitting(self) -> Splits:
        units = self.units if self.roles.groups is None else self.roles.groups
        return cross_fitting(len(self.y), units, self.roles.times)

    @cached_property
    def X(self) -> "pd.DataFrame":
        """The training rows in the default encoding: float32, shape (n_rows, n_features)."""
        if self.is_numeric:
            # The vectorizer would return the same, but takes a second to import.
            return to_float32(self.features)
        return self.encode().X

    def training_rows(self, encoding: Encoding | None = None) -> "pd.DataFrame":
        """Return the encoded training rows as trees are grown on them; see `merge_values`.

        They are cached as by `encode`.
        """
        name = encoding or DEFAULT
        with _ENCODING:
            if name not in self._merged:
                if name == DEFAULT:
                    self._merged[name] = merge_values(self.X)
                else:
                    _keep_default(self._merged)
                    self._merged[name] = merge_values(self.encode(name).X, self.training_rows())
            return self._merged[name]

    @cached_property
    def _merged(self) -> "dict[Encoding, pd.DataFrame]":
        return {}

    @cached_property
    def is_numeric(self) -> bool:
        """Whether all columns are measured numbers, each with a value: they need no encoding."""
        if self.vectorizes_numbers:
            return False
        numbers = measured_numbers(self.features, self.description.categorical)
        return len(numbers) == len(self.features.columns)

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 for a regression."""
        return 0 if self.classes is None else len(self.classes)

    @property
    def positive(self) -> int:
        """Index of the positive class; 1, as in scikit-learn, if none was chosen."""
        if self.classes is None or self.description.positive is None:
            return 1
        return [str(label) for label in self.classes].index(self.description.positive)

    @property
    def class_counts(self) -> dict[str, int]:
        """Number of rows by class, hold-out included, the most frequent first."""
        return _class_counts(np.concatenate([self.y, self.held_out_y]), self.classes)

    @property
    def weights(self) -> NDArray[Any] | None:
        """Weights of the training rows, scaled to a mean of 1."""
        weights = self.roles.weights
        return None if weights is None else weights / weights.mean()

    @cached_property
    def units(self) -> NDArray[Any] | None:
        """Codes that are equal for equal training rows; ``None`` if all rows are distinct."""
        return duplicate_codes(self.features)

    @property
    def held_out_rows(self) -> "pd.DataFrame":
        """The held-out rows with all columns that a model of this table may use."""
        if self.held_out_dropped is None:
            return self.held_out_features
        return self.held_out_features.join(self.held_out_dropped)

    @property
    def labels(self) -> NDArray[Any]:
        """Target of the training rows as in the raw table."""
        return self.y if self.classes is None else self.classes[self.y]


def _keep_default(cached: dict[Encoding, Any]) -> None:
    """Remove the other encodings: each takes as much memory as the table."""
    for name in set(cached) - {DEFAULT}:
        del cached[name]


def load_dataset(
    description: DataDescription,
    *,
    address: str | None = None,
    table: "pd.DataFrame | None" = None,
    limits: Limits = Limits(),
) -> Dataset:
    """Read a table, and divide it into training and held-out rows.

    The columns of weights and groups and the dropped columns are not features. The column of times
    is.

    Parameters
    ----------
    address
        The address for `read_table`; default: `description.source`. Its passwords are not kept in
        the dataset.
    table
        The table, if it was read before; it is not modified.
    limits
        Limits of the table's size.

    Raises
    ------
    UsageError
        When the table has no such column, or the task does not fit the target.
    DataError
        When the table cannot be read, or nothing can be learned from it.
    """
    import pandas as pd

    source, task = description.source, description.task
    table, numbers = _read(description, address, table, limits)
    notes = list(numbers.notes)
    target = str(table.columns[-1]) if description.target is None else description.target
    if description.target is None and source != DIABETES:
        notes.append(
            f"target: '{target}', the last column of {source} (choose another with --target)"
        )
    check_column(table, target, "target")
    _check_cells(table, target, description.drop)
    present = rows_with_target(table, target)
    if not present.all():
        missing = int((~present).sum())
        notes.append(f"{missing} of {len(table)} rows have no '{target}' and are left out")
        table = table[present]  # its index numbers the rows of the whole table
    table[target] = infer_target_type(table[target])
    description = description.model_copy(update={"target": target})
    roles = read_roles(table, description)
    no_features = (target, description.weight, description.group, *description.drop)
    features = table.drop(columns=[name for name in no_features if name is not None])
    if description.drop and features.shape[1] == 0:
        raise UsageError(f"--drop leaves no column of {source} to learn from: drop fewer columns")
    _check_features(features, source)
    if (bad := numbers.bad.get(target)) is not None:
        check_bad_target(target, bad, task)
    chosen = task or detect_task(table[target])
    if task is None and source != DIABETES:
        notes.append(f"task: {chosen}, detected from '{target}' (choose another with --task)")
    y, classes = encode_target(table[target], chosen)
    if classes is None:
        notes += extreme_target_notes(pd.Series(y, table.index, name=target))
    counts = _class_counts(y, classes)
    names = [] if classes is None else [str(label) for label in classes]
    positive = choose_positive(target, counts, names, description.positive)
    if classes is not None:
        is_chosen = positive is not None and description.positive is None
        remedy = " (choose the positive class with --positive)" if is_chosen else ""
        notes += [f"classes of '{target}': {list_classes(counts, positive)}{remedy}"]
        notes += similar_classes(counts)
    share = description.holdout
    keys = features.columns if description.group is None else [description.group]
    digest, hashes = digest_and_row_hashes(table, keys)
    codes = None if classes is None else y
    out = _held_out_mask(hashes, roles, share, codes)
    _check_parts(y, out, share, classes)
    for part, rows in {"training set": ~out, "hold-out": out}.items():
        if roles.weights is not None and rows.any() and not roles.weights[rows].any():
            raise DataError(f"--weight '{description.weight}' is 0 in every row of the {part}")
    resolved = {"target": target, "task": chosen, "positive": positive, "digest": digest}
    return Dataset(
        description=ResolvedDescription(**description.model_dump() | resolved),
        features=features[~out].reset_index(drop=True),
        y=y[~out],
        held_out_features=features[out].reset_index(drop=True),
        held_out_y=y[out],
        classes=classes,
        roles=roles.select(~out),
        held_out_roles=roles.select(out),
        held_out_dropped=table.loc[out, list(description.drop)].reset_index(drop=True),
        notes=tuple(notes),
        rewritten={name: rules for name, rules in numbers.rules.items() if name in features},
    )


def _read(
    description: DataDescription, address: str | None, table: "pd.DataFrame | None", limits: Limits
) -> "tuple[pd.DataFrame, Numbers]":
    """Read a table: its missing cells, its numbers with marks, and its dates.

    All notes and rules are in `Numbers`.
    """
    query = description.query
    if table is None:
        table = read_table(address or description.source, query, limits, description.text)
    else:
        table = table.copy(deep=False)  # its columns are copied when they are replaced
    notes = [*table.attrs.get(NOTES, ()), *mark_missing(table, description.na)]
    others = (description.group, *description.drop, *description.categorical)
    numbers = read_numbers(table, others, description.decimal, description.thousands)
    target = description.target or table.columns[-1]
    dates, date_notes = read_dates(table, (target, *others), description.dates)
    notes += (*numbers.notes, *date_notes)
    if query is not None and "order by" not in " ".join(query.lower().split()):
        notes.append(
            "--query has no `order by`: a study can continue only if its rows keep their order"
        )
    notes += footer_notes(table)
    return table, replace(numbers, notes=tuple(notes), rules=numbers.rules | dates)


def load_again(
    description: DataDescription, data: str | None = None, query: str | None = None
) -> Dataset:
    """Read a table that was accepted before, without limits of its size.

    Parameters
    ----------
    data, query
        Address and query of the table, if they changed.

    Raises
    ------
    UsageError, DataError
        When the table cannot be read, or lacks a column.
    """
    address, query = resolve_table(description.source, description.query, data, query)
    now = description.model_copy(update={"source": TableAddress(address).redacted, "query": query})
    return load_dataset(now, address=address, limits=ALL_FREE_MEMORY)


def _class_counts(y: NDArray[Any], classes: NDArray[Any] | None) -> dict[str, int]:
    if classes is None:
        return {}
    counts = np.bincount(y, minlength=len(classes))
    order = np.argsort(-counts, kind="stable")
    return {str(classes[k]): int(counts[k]) for k in order}


def _held_out_mask(
    hashes: NDArray[np.uint64], roles: Roles, share: float, classes: NDArray[Any] | None
) -> NDArray[np.bool_]:
    """Select the latest rows if there are times, else whole groups or rows by their hashes."""
    if not share:
        return np.zeros(len(hashes), dtype=bool)
    if roles.times is not None:
        return np.asarray(roles.times > np.quantile(roles.times, 1 - share))
    return select_held_out(hashes, share, classes)


def _check_cells(table: "pd.DataFrame", target: str, dropped: Sequence[str]) -> None:
    """Raise `DataError` for names and values that a model cannot take."""
    learned = table.drop(columns=list(dropped), errors="ignore")
    for name in table.columns:
        if not name:
            raise DataError("a column has no name: give it one")
        if len(name) > _MAX_NAME_LENGTH:
            raise DataError(
                f"column '{name[:40]}…' has a name of {len(name):,} characters: shorten it to at "
                f"most {_MAX_NAME_LENGTH}, or add a header if the table has none"
            )
        if "\0" in name:
            raise DataError(f"column {name[:40]!r} has a NUL character in its name: rename it")
        if table[name].dtype.kind == "c":
            raise DataError(
                f"column '{name}' holds complex numbers: split it into two columns of real numbers"
            )
    for name in learned.select_dtypes(include="object", exclude="str").columns:
        # Bytes can be categories but not classes: predictions could not be written as JSON.
        refused = (*_NESTED_TYPES, bytes) if name == target else _NESTED_TYPES
        value = next((value for value in table[name] if isinstance(value, refused)), None)
        if value is not None:
            remedy = "" if name == target else f"leave it out (--drop {quote(name)}), or "
            raise DataError(
                f"column '{name}' holds values of type {type(value).__name__}: {remedy}convert it "
                "to numbers, texts, dates or booleans"
            )
    for name in learned.select_dtypes(include="str").columns:
        longest = int(table[name].str.len().max() or 0)
        if longest > _MAX_TEXT_LENGTH:
            raise DataError(
                f"column '{name}' holds a text of {longest:,} characters, more than "
                f"{_MAX_TEXT_LENGTH:,}: shorten it, or leave the column out "
                f"(--drop {quote(name)})"
            )


def _check_features(features: "pd.DataFrame", source: str) -> None:
    if features.shape[1] == 0:
        raise DataError(f"{source} has no column besides the target: nothing to learn from")
    for name, dtype in features.dtypes.items():
        if dtype.kind == "m" or str(dtype).startswith("period"):
            raise DataError(f"column '{name}' holds {dtype}: store it as a number or as a date")
    numbers = features.select_dtypes("number")
    for name in numbers.columns:
        values = numbers[name].to_numpy(dtype=np.float64, na_value=np.nan)
        # Trees compare in float32, where larger values are infinite.
        n_infinite = int((np.abs(values) > np.finfo(np.float32).max).sum())
        if n_infinite:
            raise DataError(
                f"column '{name}' has {n_infinite} infinite values: replace them, or leave them "
                "empty"
            )
    if not any(features[name].notna().any() for name in features.columns):
        raise DataError(f"{source}: all values besides the target are missing")


def _check_parts(
    y: NDArray[Any], out: NDArray[np.bool_], share: float, classes: NDArray[Any] | None
) -> None:
    """Raise `DataError` if the training set or the hold-out has too few rows or classes."""
    parts = {"training set": y[~out], "hold-out": y[out]} if share else {"training set": y}
    for part, values in parts.items():
        remedy = "train on every row with --holdout 0" if share else "give more rows"
        if len(values) < MIN_ROWS:
            raise DataError(
                f"the {part} has {len(values)} of {len(y)} rows, fewer than {MIN_ROWS}: {remedy}"
            )
        if classes is not None and share:
            missing = np.setdiff1d(np.arange(len(classes)), values)
            if len(missing):
                if classes.dtype.kind == "i":
                    remedy += ", or predict a number with --task regression"
                raise DataError(f"the {part} has no row of class '{classes[missing[0]]}': {remedy}")
        if part == "training set" and len(np.unique(values)) == 1:
            raise DataError(f"the target is constant in the {part}: {remedy}")

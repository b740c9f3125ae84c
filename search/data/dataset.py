"""Dataset: a table turned into what forests grow on, and the rows held out from them."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from search.data.addresses import DIABETES, TableAddress, resolve_table
from search.data.description import DataDescription, ResolvedDescription
from search.data.holdout import duplicate_codes, select_held_out, table_digest
from search.data.limits import ALL_FREE_MEMORY, Limits
from search.data.roles import Roles, check_column, read_roles
from search.data.table import read_table
from search.data.target import detect_task, encode_target, infer_target_type, rows_with_target
from search.errors import DataError
from search.types import Task

if TYPE_CHECKING:
    import pandas as pd

MIN_ROWS = 10
_LONGEST_NAME = 500
_LONGEST_TEXT = 1_000_000
_NESTED = (list, tuple, dict, set, np.ndarray)


@dataclass(frozen=True)
class Dataset:
    """Features and target, divided into training rows and held-out rows.

    Attributes
    ----------
    description
        The table and the roles of its columns.
    features, held_out_features
        The raw table's rows without the target.
    y, held_out_y
        float64 for a regression; for a classification the index into `classes`, int64.
    classes
        The target's values, sorted; ``None`` for a regression.
    roles, held_out_roles
        Weights, groups and times of the rows.
    notes
        A sentence on each choice that was made for the user, and on rows left out.
    """

    description: ResolvedDescription
    features: "pd.DataFrame"
    y: NDArray[Any]
    held_out_features: "pd.DataFrame"
    held_out_y: NDArray[Any]
    classes: NDArray[Any] | None
    roles: Roles = Roles()
    held_out_roles: Roles = Roles()
    notes: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        """Whether the target is a number or a class."""
        return self.description.task

    @cached_property
    def _vectorized(self) -> tuple[Any, "pd.DataFrame"]:
        from threadpoolctl import threadpool_limits

        vectorizer = make_vectorizer()
        # Linear algebra on several threads adds up in another order, and so to other last bits.
        with threadpool_limits(1):
            return vectorizer, vectorizer.fit_transform(self.features)

    @property
    def vectorizer(self) -> Any:
        """The skrub `TableVectorizer`, fitted on the training rows."""
        return self._vectorized[0]

    @cached_property
    def X(self) -> "pd.DataFrame":
        """The training rows as float32 columns, shape (n_rows, n_features)."""
        if self.is_numeric:
            # What the vectorizer makes of them, without a second of imports before the search.
            return self.features.astype(np.float32)
        return cast("pd.DataFrame", self._vectorized[1])

    @cached_property
    def is_numeric(self) -> bool:
        """Whether every column is of NumPy's numbers, and has some: forests take it as it is."""
        numbers = all(
            isinstance(dtype, np.dtype) and dtype.kind in "iuf" for dtype in self.features.dtypes
        )
        return numbers and bool(self.features.notna().any().all())

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 for a regression."""
        return 0 if self.classes is None else len(self.classes)

    @property
    def weights(self) -> NDArray[Any] | None:
        """The training rows' weights, of mean 1."""
        weights = self.roles.weights
        return None if weights is None else weights / weights.mean()

    @cached_property
    def units(self) -> NDArray[Any] | None:
        """Number of the row among the distinct training rows; ``None`` where all are distinct."""
        return duplicate_codes(self.features)

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


def load_dataset(
    description: DataDescription,
    *,
    address: str | None = None,
    table: "pd.DataFrame | None" = None,
    limits: Limits = Limits(),
) -> Dataset:
    """Read a table and divide it.

    Columns of weights and groups are not features; the time is one, too.

    Parameters
    ----------
    address
        Where the table is read, as `read_table` takes it; default: `description.source`. It may
        hold passwords, which go into no dataset.
    table
        The table itself, where it is read already; it is left as it is.
    limits
        How large the table may be.

    Raises
    ------
    UsageError
        When the target is none of the columns, or the task does not fit it.
    DataError
        When nothing can be learned from the table.
    """
    source, query, task = description.source, description.query, description.task
    table = read_table(address or source, query, limits) if table is None else table.copy()
    notes = []
    if query is not None and "order by" not in " ".join(query.lower().split()):
        notes.append(
            "--query has no `order by`: rows in another order are another table to a study"
        )
    target = str(table.columns[-1]) if description.target is None else description.target
    if description.target is None and source != DIABETES:
        notes.append(f"target: '{target}', the last column of {source} (another: --target)")
    check_column(table, target, "target")
    _check_cells(table, target)
    present = rows_with_target(table, target)
    if not present.all():
        missing = int((~present).sum())
        notes.append(f"{missing} of {len(table)} rows have no '{target}' and are left out")
        table = table[present].reset_index(drop=True)
    table[target] = infer_target_type(table[target])
    description = description.model_copy(update={"target": target})
    roles = read_roles(table, description)
    not_learned = (target, description.weight, description.group)
    features = table.drop(columns=[name for name in not_learned if name is not None])
    _check_features(features, source)
    chosen = task or detect_task(table[target])
    if task is None and source != DIABETES:
        notes.append(f"task: {chosen}, as '{target}' is (another: --task)")
    y, classes = encode_target(table[target], chosen)
    share = description.holdout
    out = _choose_held_out(table, features, roles, description.group, share)
    _check_sides(y, out, share, classes)
    for side, rows in {"training": ~out, "hold-out": out}.items():
        if roles.weights is not None and rows.any() and not roles.weights[rows].any():
            raise DataError(f"--weight '{description.weight}' is 0 in every row of the {side} side")
    found = {"target": target, "task": chosen, "digest": table_digest(table)}
    return Dataset(
        description=ResolvedDescription(**description.model_dump() | found),
        features=features[~out].reset_index(drop=True),
        y=y[~out],
        held_out_features=features[out].reset_index(drop=True),
        held_out_y=y[out],
        classes=classes,
        roles=roles.of(~out),
        held_out_roles=roles.of(out),
        notes=tuple(notes),
    )


def load_again(
    description: DataDescription, data: str | None = None, query: str | None = None
) -> Dataset:
    """Read a table that was accepted before, and divide it as `description` has it.

    The limits of its size do not apply again.

    Parameters
    ----------
    data, query
        Address and query of the table, where they changed.

    Raises
    ------
    UsageError, DataError
        When the table cannot be read, or lacks a column.
    """
    address, query = resolve_table(description.source, description.query, data, query)
    now = description.model_copy(update={"source": TableAddress(address).redacted, "query": query})
    return load_dataset(now, address=address, limits=ALL_FREE_MEMORY)


def _choose_held_out(
    table: "pd.DataFrame", features: "pd.DataFrame", roles: Roles, group: str | None, share: float
) -> NDArray[np.bool_]:
    """Choose by the rows' hashes; by their groups' where they have some; the last times."""
    if not share:
        return np.zeros(len(table), dtype=bool)
    if roles.times is not None:
        return np.asarray(roles.times > np.quantile(roles.times, 1 - share))
    return select_held_out(features if group is None else table[[group]], share)


def _check_cells(table: "pd.DataFrame", target: str) -> None:
    """Refuse what no column of a model can hold: lists, endless names and texts."""
    for name in table.columns:
        if not name:
            raise DataError("a column has no name: give it one")
        if len(name) > _LONGEST_NAME:
            raise DataError(
                f"column '{name[:40]}…' has a name of {len(name):,} characters: rename it, with at "
                f"most {_LONGEST_NAME}; or has the table no header?"
            )
        if "\0" in name:
            raise DataError(f"column {name[:40]!r} has a NUL in its name: rename it")
        if table[name].dtype.kind == "c":
            raise DataError(
                f"column '{name}' holds complex numbers: make it two columns of real ones"
            )
    for name in table.select_dtypes(include="object", exclude="str").columns:
        # Bytes are categories, but no classes: a model's answer would have no JSON.
        refused = (*_NESTED, bytes) if name == target else _NESTED
        unlearned = next((value for value in table[name] if isinstance(value, refused)), None)
        if unlearned is not None:
            raise DataError(
                f"column '{name}' holds values of type {type(unlearned).__name__}: numbers, texts, "
                "dates and logical values are learned from; leave it out, or make it columns of "
                "these"
            )
    for name in table.select_dtypes(include="str").columns:
        longest = int(table[name].str.len().max() or 0)
        if longest > _LONGEST_TEXT:
            raise DataError(
                f"column '{name}' holds a text of {longest:,} characters, more than "
                f"{_LONGEST_TEXT:,}: shorten it, or leave the column out"
            )


def _check_features(features: "pd.DataFrame", source: str) -> None:
    if features.shape[1] == 0:
        raise DataError(f"{source} has no column beside the target: nothing to learn from")
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

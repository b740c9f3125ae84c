"""`StudySpec`: the validated options of a study, from the command line, a file or Python."""

import re
import tomllib
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from search.data.addresses import DIABETES, FRAME, TableAddress
from search.data.description import CANONICAL, DataDescription
from search.data.limits import Limits
from search.errors import UsageError
from search.types import DateOrder, Task
from storage.errors import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

_NAME_RULE = "use up to 100 letters, digits, '.', '_' and '-'"
# Boolean options. All other options reject booleans, which Python would accept as 0 and 1.
_BOOLEANS = ("header", "register", "detach", "restore")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")

Evaluation = Literal["auto", "oob", "cv"]
ChampionChoice = Literal["smallest", "best"]


class Range(BaseModel):
    """A range of a hyperparameter, both ends included."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    low: float | int
    high: float | int
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) is above high ({self.high})")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range needs low above 0, not {self.low}")
        return self


# Types of pydantic's errors for a value of a wrong type.
_LITERAL = "literal_error"
_TYPE_ERRORS = {f"{kind}_type" for kind in ("bool", "int", "float", "string", "tuple", "model")} | {
    _LITERAL
}
_RANGE_ERRORS = {
    "missing": "'{}' is missing",
    "extra_forbidden": "'{}' is unknown",
}

Scalar = None | bool | int | float | str
Choice = Scalar | Range | tuple[Scalar, ...]


class _TableReference:
    """Wraps a specification's table, so that comparison is by identity: frames do not compare."""

    def __init__(self, table: "pd.DataFrame") -> None:
        self.table = table


class StudySpec(BaseModel):
    """Specification of a study: the data, the search space, how trials are scored, the budget.

    The fields are the options of ``grovekeeper launch`` and the keys of its configuration file.
    Instead of a path or an address, `data` may also be a table: a data frame of pandas or polars,
    or a two-dimensional array, whose columns are then called ``x0``, ``x1``, …. The study of such
    a table is called ``frame`` unless `study` is given, and the experiment and the model are
    named after the study.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    _reference: "_TableReference | None" = PrivateAttr(default=None)
    # The address as it was given, if `data` leaves out its secrets.
    _address: str | None = PrivateAttr(default=None)

    data: Annotated[
        str,
        Field(
            min_length=1,
            description="Table to learn from: path or address (https://…, s3://…) of a CSV, TSV, "
            "JSON Lines (also .gz), Feather or Parquet file or of a folder of Parquet files, "
            "address of a database, - for standard input, or diabetes. Passwords and signatures "
            "in an address are not stored.",
        ),
    ] = DIABETES
    query: Annotated[
        str | None,
        Field(
            min_length=1,
            description="SELECT statement, with an ORDER BY, that reads the table from a database.",
            examples=["select * from houses order by id"],
        ),
    ] = None
    max_rows: Annotated[
        int | None,
        Field(
            ge=1,
            description="Maximum number of rows. A longer table is an error.",
            examples=[1_000_000],
        ),
    ] = None
    max_bytes: Annotated[
        ByteSize | None,
        Field(
            gt=0,
            description="Maximum size of the table in memory. A larger table is an error. "
            "Default: a third of the free memory.",
            examples=["2GB"],
        ),
    ] = None
    target: Annotated[
        str | None, Field(description="Column to predict. Default: the last column.")
    ] = None
    task: Annotated[
        Task | None,
        Field(description="Regression or classification. Default: detected from the target."),
    ] = None
    metric: Annotated[
        str | None,
        Field(
            description="Score to optimise. Default: rmse for regression, brier for classification."
        ),
    ] = None
    weight: Annotated[
        str | None, Field(description="Column of sample weights.", examples=["column"])
    ] = None
    group: Annotated[
        str | None,
        Field(
            description="Column of groups, such as patients or customers. A group is never split "
            "between training and scoring: trials are scored by cross-validation.",
            examples=["column"],
        ),
    ] = None
    time: Annotated[
        str | None,
        Field(
            description="Column that orders the rows. Later rows never predict earlier ones: "
            "trials are scored by cross-validation.",
            examples=["column"],
        ),
    ] = None
    drop: Annotated[
        tuple[str, ...],
        CANONICAL,
        Field(
            description="Columns that are not learned from, such as identifiers, or values that "
            "are not known when the target is predicted.",
            examples=[["column"]],
        ),
    ] = ()
    categorical: Annotated[
        tuple[str, ...],
        CANONICAL,
        Field(
            description="Columns of whole numbers that are categories, such as codes.",
            examples=[["column"]],
        ),
    ] = ()
    positive: Annotated[
        str | None,
        BeforeValidator(lambda value: value if value is None else str(value)),
        Field(
            description="For a target of two classes: the class that scores such as f1, precision, "
            "recall and average_precision are about. Default: the rarer one.",
            examples=["class"],
        ),
    ] = None
    na: Annotated[
        tuple[Annotated[str, BeforeValidator(str)], ...],
        CANONICAL,
        Field(
            description="Words or numbers that mean that a value is missing, in addition to empty "
            "cells and, in columns of numbers, booleans and dates, NA, None, null and the like.",
            examples=[["-999"]],
        ),
    ] = ()
    decimal: Annotated[
        Literal[".", ","] | None,
        Field(
            description="Decimal mark of numbers such as 1,234, which the table leaves open. "
            "Default: read from the table.",
            examples=[","],
        ),
    ] = None
    thousands: Annotated[
        Literal[",", "."] | None,
        Field(
            description="Thousands mark of numbers such as 1,234, which the table leaves open. "
            "Default: read from the table.",
            examples=["."],
        ),
    ] = None
    dates: Annotated[
        DateOrder | None,
        Field(
            description="Order of day and month in dates such as 02/06/2024, in columns that do "
            "not show it by a number above 12. Default: day-first with points, otherwise as in "
            "other columns, or month-first.",
            examples=["day-first"],
        ),
    ] = None
    header: Annotated[
        bool,
        Field(
            description="Whether the first row of a CSV or TSV file holds the names of the "
            "columns. Without a header, they are x0, x1, …."
        ),
    ] = True
    evaluation: Annotated[
        Evaluation,
        Field(
            description="How trials are scored: by out-of-bag votes (oob), by cross-validation "
            "(cv), or by out-of-bag votes unless they would be biased (auto)."
        ),
    ] = "auto"
    folds: Annotated[
        int, Field(ge=2, le=50, description="Number of folds of cross-validation.")
    ] = 5
    study: Annotated[
        str, Field(description="Name of the study. Default: derived from the data.")
    ] = ""
    experiment: Annotated[
        str, Field(description="Name of the MLflow experiment. Default: derived from the data.")
    ] = ""
    model: Annotated[
        str, Field(description="Name of the registered model. Default: derived from the data.")
    ] = ""
    register_model: Annotated[
        bool,
        Field(alias="register", description="Register the champion in the MLflow Model Registry."),
    ] = True
    trials: Annotated[
        int,
        Field(
            ge=1, le=1_000_000, description="Number of finished trials in total, over all launches."
        ),
    ] = 50
    timeout: Annotated[
        float | None,
        Field(
            gt=0,
            description="Time limit of this launch in seconds, champion and registration included. "
            "The champion has fewer trees if they do not fit. Default: no limit.",
            examples=[600],
        ),
    ] = None
    workers: Annotated[
        int | None,
        Field(
            ge=1,
            le=1024,
            description="Number of worker processes on this machine. Default: one per core.",
            examples=[2],
        ),
    ] = None
    scheduler: Annotated[
        str | None,
        Field(
            description="Address of a Dask scheduler whose workers grow the trees. Default: "
            "DASK_SCHEDULER_ADDRESS, or workers on this machine.",
            examples=["tcp://host:8786"],
        ),
    ] = None
    detach: Annotated[
        bool,
        Field(
            description="Run the coordinator on the Dask cluster, too, and return when the study "
            "has started."
        ),
    ] = False
    restore: Annotated[
        bool,
        Field(
            description="Restore the MLflow experiment and the study's run if they were deleted."
        ),
    ] = False
    seed: Annotated[int, Field(ge=0, lt=2**32, description="Seed of everything random.")] = 0
    holdout: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="Share of the rows that is held out to judge the champion. With 0 the "
            "champion is trained on all rows.",
        ),
    ] = 0.2
    trees: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=1, le=100_000)],
        Field(
            description="Number of trees of the champion. auto: as many as its error needs, from "
            "100 to 1,000; up to half as many if they would take more than 500 MB."
        ),
    ] = "auto"
    champion: Annotated[
        ChampionChoice,
        Field(
            description="Trial that becomes the champion. best: the best one. smallest: if the "
            "best one's model exceeds 50 MB in memory, the one with the smallest model among those "
            "that are not shown to be worse."
        ),
    ] = "smallest"
    space: Annotated[
        dict[str, Choice],
        Field(
            description="Replaces or narrows the search space: maps a hyperparameter to a value, "
            "a list of choices, or a range (low, high, log)."
        ),
    ] = {}

    @property
    def table(self) -> "pd.DataFrame | None":
        """The table, if it was given as a frame or was read already."""
        return self._reference and self._reference.table

    @property
    def address(self) -> str:
        """Address of the table with its passwords: do not store, log or print it."""
        return self._address or self.data

    @property
    def description(self) -> DataDescription:
        """The description of the study's data."""
        fields = DataDescription.model_fields.keys() & StudySpec.model_fields.keys()
        return DataDescription(source=self.data, **{name: getattr(self, name) for name in fields})

    @property
    def limits(self) -> Limits:
        """Limits on the size of the table."""
        return Limits(self.max_rows, self.max_bytes)

    def with_table(self, table: "pd.DataFrame") -> Self:
        """Return the same specification with the table that ``data`` names.

        The copy has no address with passwords, as it does not read the table again.
        """
        spec = self.model_copy()
        spec._reference, spec._address = _TableReference(table), None
        return spec

    @model_validator(mode="wrap")
    @classmethod
    def _validate(cls, values: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        """Accept a table as `data`; raise `UsageError` for the first invalid field."""
        if not isinstance(values, Mapping):
            return validate(values)
        given = dict(values)
        not_boolean = set(_options()).difference(_BOOLEANS, ["positive"])  # a class may be True
        for name, value in given.items():
            if isinstance(value, bool) and name in not_boolean:
                booleans = f"{', '.join(_BOOLEANS[:-1])} and {_BOOLEANS[-1]}"
                raise UsageError(f"invalid {name} {value}: only {booleans} are true or false")
        if isinstance(given.get("space"), Mapping):
            given["space"] = {name: _plain(value) for name, value in given["space"].items()}
        data, reference, address = given.get("data"), None, None
        if isinstance(data, PathLike):
            given["data"] = fspath(data)
        elif isinstance(data, str):
            given["data"] = TableAddress(data).redacted
            address = data if given["data"] != data else None
        elif data is not None:
            from search.data.frames import to_pandas

            reference = _TableReference(to_pandas(data))
            name = given.get("study") or FRAME
            given = {"experiment": name, "model": name} | given | {"data": FRAME}
        try:
            spec = validate(given)
        except ValidationError as error:
            raise _usage_error(error, given) from None
        spec._reference, spec._address = reference, address
        return spec

    @model_validator(mode="before")
    @classmethod
    def _name_after_data(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        name = TableAddress(str(values.get("data") or DIABETES)).study_name
        named = {key: values.get(key) or name for key in ("study", "experiment", "model")}
        return dict(values) | named

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        for kind in ("study", "experiment", "model"):
            check_name(kind, getattr(self, kind))
        return self

    @model_validator(mode="after")
    def _check_marks(self) -> Self:
        if self.decimal is not None and self.decimal == self.thousands:
            raise UsageError(
                f"--decimal and --thousands are both '{self.decimal}': they must be different"
            )
        return self

    @model_validator(mode="after")
    def _check_query(self) -> Self:
        data = TableAddress(self.data)
        if self.query is None and data.is_database:
            raise UsageError(
                f"--data {self.data} is a database: say what to read with --query 'select …'"
            )
        if self.query is not None and not data.scheme:
            raise UsageError(f"--query is for a database's address, but --data is {self.data}")
        return self


def _options() -> list[str]:
    """Return the names of all options as they are written in a configuration file."""
    return [field.alias or key for key, field in StudySpec.model_fields.items()]


def _plain(value: Any) -> Any:
    """Convert NumPy's numbers and arrays to Python's."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _plain(value.tolist()) if hasattr(value, "tolist") else value


def check_name(kind: str, name: str) -> str:
    """Return `name`; raise `UsageError` if a study, experiment or model cannot have it."""
    if not _NAME.fullmatch(name) or name in {".", ".."}:
        raise UsageError(f"invalid {kind} name {name[:120]!r}: {_NAME_RULE}")
    return name


def read_config(path: Path) -> dict[str, Any]:
    """Read a configuration file: TOML with the fields of `StudySpec`.

    Raises
    ------
    UsageError
        If the file cannot be read or is not valid TOML.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise UsageError(f"cannot read --config {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path} is not valid TOML: {error}") from error


def make_spec(values: Mapping[str, Any]) -> StudySpec:
    """Validate the fields of a `StudySpec`; values of ``None`` count as not given.

    Raises
    ------
    UsageError
        If a field is invalid. The message names the first one, its value and the valid values.
    """
    return StudySpec.model_validate({k: v for k, v in values.items() if v is not None})


def _usage_error(error: ValidationError, given: Mapping[str, Any]) -> UsageError:
    """Describe the first invalid field: its name, its value and the valid values."""
    found = error.errors(include_url=False)
    # Each type that a value may have reports an error. Type errors are the least informative.
    first = next((one for one in found if one["type"] not in _TYPE_ERRORS), found[0])
    name, *below = map(str, first["loc"] or ("the specification",))
    if first["type"] == "extra_forbidden" and not below:
        known = _options()
        hint = did_you_mean(name, known)
        return UsageError(f"there is no option '{name}'{hint}: there are {', '.join(known)}")
    value, text = given.get(name), first["msg"].removeprefix("Value error, ")
    text = f"{text[0].lower()}{text[1:]}"
    if name == "space" and below:
        name, value = f"[space] {below[0]} =", given[name][below[0]]
        if first["type"] in _TYPE_ERRORS:
            text = "give a value, a list of values, or a range: {low = 0.1, high = 1.0}"
        elif first["type"] in _RANGE_ERRORS:
            problem = _RANGE_ERRORS[first["type"]].format(below[-1])
            text = f"a range has low, high and log, but {problem}"
    elif first["type"] == "tuple_type":
        text = 'give a list, such as ["column"]'
    if first["type"] not in _TYPE_ERRORS:
        others = (one["msg"] for one in found if one["type"] == _LITERAL)
        text += "".join(f", or{other.removeprefix('Input should be')}" for other in others)
    shown_value = "" if value is None else f" {value!r}"
    return UsageError(f"invalid {name}{shown_value}: {text}")

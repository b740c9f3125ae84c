"""StudySpec: what to search, on which data, for how long; validated once, wherever from."""

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from search.data.addresses import DIABETES, FRAME, default_name, is_database, scheme, shown
from search.data.description import DataDescription
from search.data.limits import Bounds
from search.errors import UsageError
from search.types import Task

if TYPE_CHECKING:
    import pandas as pd

NAME_RULE = "letters, digits, '.', '_' and '-', at most 100 of them"
# What is on or off; of the rest nothing is, though Python takes True for 1.
_SWITCHES = ("register", "detach")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")

Evaluation = Literal["auto", "oob", "cv"]


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
            raise ValueError(f"a logarithmic range begins above 0, not at {self.low}")
        return self


# What pydantic says where a value is of another kind than one of those that it may be.
_LITERAL = "literal_error"
_KINDS = {f"{kind}_type" for kind in ("bool", "int", "float", "string", "tuple", "model")} | {
    _LITERAL
}
_AMISS = {"missing": "missing", "extra_forbidden": "not among them"}

Scalar = None | bool | int | float | str
Choice = Scalar | Range | tuple[Scalar, ...]


class _Held:
    """A table that a specification holds; compared by identity, as frames cannot be."""

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
    _held: "_Held | None" = PrivateAttr(default=None)
    # What `data` was given as, where more than is shown of it.
    _address: str | None = PrivateAttr(default=None)

    data: Annotated[
        str,
        Field(
            min_length=1,
            description="Table to learn from: path or address (https://…, s3://…) of a CSV, TSV "
            "(also .gz) or Parquet file or of a folder of Parquet files, address of a database, "
            "- for standard input, or diabetes. Passwords and signatures in an address are not "
            "stored.",
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
            description="Time limit of the search in this launch, in seconds. Default: no limit.",
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
            "100 to 1,000."
        ),
    ] = "auto"
    space: Annotated[
        dict[str, Choice],
        Field(
            description="Replaces or narrows the search space: maps a hyperparameter to a value, "
            "a list of choices, or a range (low, high, log)."
        ),
    ] = {}

    @property
    def table(self) -> "pd.DataFrame | None":
        """The table that ``data`` names, where it was read already or given as one."""
        return self._held and self._held.table

    @property
    def address(self) -> str:
        """Where the table is read, secrets and all: not to be kept, logged or said."""
        return self._address or self.data

    @property
    def description(self) -> DataDescription:
        """Which table the study learns from, and what its columns are for."""
        fields = DataDescription.model_fields.keys() & StudySpec.model_fields.keys()
        return DataDescription(source=self.data, **{name: getattr(self, name) for name in fields})

    @property
    def bounds(self) -> Bounds:
        """How large the table may be."""
        return Bounds(self.max_rows, self.max_bytes)

    def holding(self, table: "pd.DataFrame") -> Self:
        """Return the same specification with the table that ``data`` names, read already.

        Where it was read, and by which password, is of no more use, and left out.
        """
        spec = self.model_copy()
        spec._held, spec._address = _Held(table), None
        return spec

    @model_validator(mode="wrap")
    @classmethod
    def _make(cls, values: Any, make: ModelWrapValidatorHandler[Self]) -> Self:
        """Take a table for `data`; say in one line what is no good."""
        if not isinstance(values, Mapping):
            return make(values)
        given = dict(values)
        numbers_and_texts = set(_options()).difference(_SWITCHES)
        for name, value in given.items():
            if isinstance(value, bool) and name in numbers_and_texts:
                on_or_off = " and ".join(_SWITCHES)
                raise UsageError(f"{name} {value} is no good: only {on_or_off} are on or off")
        if isinstance(given.get("space"), Mapping):
            given["space"] = {name: _plain(value) for name, value in given["space"].items()}
        data, held, address = given.get("data"), None, None
        if isinstance(data, PathLike):
            given["data"] = fspath(data)
        elif isinstance(data, str):
            given["data"] = shown(data)
            address = data if given["data"] != data else None
        elif data is not None:
            from search.data.frames import to_pandas

            held = _Held(to_pandas(data))
            name = given.get("study") or FRAME
            given = {"experiment": name, "model": name} | given | {"data": FRAME}
        try:
            spec = make(given)
        except ValidationError as error:
            raise _usage_error(error, given) from None
        spec._held, spec._address = held, address
        return spec

    @model_validator(mode="before")
    @classmethod
    def _name_after_data(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        name = default_name(str(values.get("data") or DIABETES))
        named = {key: values.get(key) or name for key in ("study", "experiment", "model")}
        return dict(values) | named

    @model_validator(mode="after")
    def _names_are_good(self) -> Self:
        for kind in ("study", "experiment", "model"):
            check_name(kind, getattr(self, kind))
        return self

    @model_validator(mode="after")
    def _query_is_of_a_database(self) -> Self:
        if self.query is None and is_database(self.data):
            raise UsageError(
                f"--data {self.data} is a database: say what to read with --query 'select …'"
            )
        if self.query is not None and not scheme(self.data):
            raise UsageError(f"--query is for a database's address, and --data is {self.data}")
        return self


def _options() -> list[str]:
    """Names of all options, as a file has them."""
    return [field.alias or key for key, field in StudySpec.model_fields.items()]


def _plain(value: Any) -> Any:
    """Return Python's own numbers and sequences for NumPy's."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _plain(value.tolist()) if hasattr(value, "tolist") else value


def check_name(kind: str, name: str) -> str:
    """Return `name`; raise `UsageError` where it is no good for a study, experiment or model."""
    if not _NAME.fullmatch(name) or name in {".", ".."}:
        raise UsageError(f"{kind} name {name[:120]!r} is no good: it may hold {NAME_RULE}")
    return name


def read_config(path: Path) -> dict[str, Any]:
    """Read a TOML file of `StudySpec`'s fields.

    Raises
    ------
    UsageError
        When the file cannot be read or is not TOML.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise UsageError(f"cannot read --config {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path} is not TOML: {error}") from error


def make_spec(values: Mapping[str, Any]) -> StudySpec:
    """Validate `values` (`StudySpec`'s fields; those that are None count as not given).

    Raises
    ------
    UsageError
        Naming the first field that is no good, its value and what it may be.
    """
    return StudySpec.model_validate({k: v for k, v in values.items() if v is not None})


def _usage_error(error: ValidationError, given: Mapping[str, Any]) -> UsageError:
    """Tell of the first field that is no good, its value and what it may be."""
    found = error.errors(include_url=False)
    # Where a value may be of several kinds, each complains; which kind it is not says least.
    first = next((one for one in found if one["type"] not in _KINDS), found[0])
    name, *below = map(str, first["loc"] or ("the specification",))
    if first["type"] == "extra_forbidden" and not below:
        known = _options()
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'? T" if near else "t"
        text = f"there is no option '{name}': {hint}here are {', '.join(known)}"
        return UsageError(text)
    value, text = given.get(name), first["msg"].removeprefix("Value error, ")
    text = f"{text[0].lower()}{text[1:]}"
    if name == "space" and below:
        name, value = f"[space] {below[0]} =", given[name][below[0]]
        if first["type"] in _KINDS:
            text = "give a value, a list of values, or a range: {low = 0.1, high = 1.0}"
        elif first["type"] in {"missing", "extra_forbidden"}:
            text = f"a range has low, high and log, and '{below[-1]}' is {_AMISS[first['type']]}"
    if first["type"] not in _KINDS:
        others = (one["msg"] for one in found if one["type"] == _LITERAL)
        text += "".join(f", or{other.removeprefix('Input should be')}" for other in others)
    said = f"{name} {value!r}" if value is not None else name
    return UsageError(f"{said} is no good: {text}")

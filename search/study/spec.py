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
    """A study as its user asks for it.

    Attributes
    ----------
    study, experiment, model
        Names of the study, of MLflow's experiment and of the registered model; default: the data's.
        Of a table itself the study is ``frame``, and experiment and model are named as the study.
    register
        Whether the champion is registered.
    data
        Path of a CSV, TSV (also .gz) or Parquet file or of a folder of Parquet files, its address
        (https://…, s3://…), a database's address, ``-`` for standard input, or ``diabetes``; or a
        table itself, a frame of pandas' or polars' or an array of rows and columns (x0, x1, …).
        What is kept of an address has no passwords and signatures.
    query
        What is read from a database: a select, with an order by.
    max_rows
        Rows of the table at most; more are an error.
    max_bytes
        Size of the table in memory at most, as 2GB; default: a third of what is free.
    target
        Column to predict; the last one where it is not given.
    task
        Detected from the target where not given.
    metric
        Score to optimise; default: ``rmse``, or ``brier`` for classes.
    weight
        Column of the rows' weights.
    group
        Column whose equal values bind rows together: a group is never on both sides.
    time
        Column by which rows are in order: what is later never predicts what is earlier.
    evaluation
        ``oob``, by out-of-bag votes; ``cv``, by folds; ``auto``, by votes where they do not fool.
    folds
        Number of folds.
    trials
        Finished trials in all, over all launches.
    timeout
        Seconds that the search may take in this launch.
    workers
        Local worker processes; default: one a core.
    scheduler
        Address of a Dask scheduler whose workers grow the trees; default: this machine's.
    detach
        Run the coordinator on the cluster as well, and return when the study has begun.
    seed
        What everything that is random derives from.
    holdout
        Share of rows kept apart to judge the champion; 0 trains on every row.
    trees
        Size of the champion; ``auto``: as many as its error needs.
    space
        Replaces or narrows the search space: a value, a list of choices or a `Range` by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    _held: "_Held | None" = PrivateAttr(default=None)
    # What `data` was given as, where more than is shown of it.
    _address: str | None = PrivateAttr(default=None)

    data: Annotated[str, Field(min_length=1)] = DIABETES
    query: Annotated[str | None, Field(min_length=1)] = None
    max_rows: Annotated[int | None, Field(ge=1)] = None
    max_bytes: Annotated[ByteSize | None, Field(gt=0)] = None
    target: str | None = None
    task: Task | None = None
    metric: str | None = None
    weight: str | None = None
    group: str | None = None
    time: str | None = None
    evaluation: Evaluation = "auto"
    folds: Annotated[int, Field(ge=2, le=50)] = 5
    study: str = ""
    experiment: str = ""
    model: str = ""
    register_model: Annotated[bool, Field(alias="register")] = True
    trials: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    timeout: Annotated[float | None, Field(gt=0)] = None
    workers: Annotated[int | None, Field(ge=1, le=1024)] = None
    scheduler: str | None = None
    detach: bool = False
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    holdout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    trees: Literal["auto"] | Annotated[int, Field(ge=1, le=100_000)] = "auto"
    space: dict[str, Choice] = {}

    @property
    def table(self) -> "pd.DataFrame | None":
        """The table that ``data`` names, where it was read already or given as one."""
        return self._held and self._held.table

    @property
    def address(self) -> str:
        """Where the table is read, secrets and all: not to be kept, logged or said."""
        return self._address or self.data

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

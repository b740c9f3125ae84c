"""DataDescription: the table that a study learns from, and the roles of its columns."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict

from search.data.addresses import TableAddress
from search.data.text_format import TextFormat
from search.types import DateOrder, Task

# Columns that describe rows, and the words that users read for them.
ROLES = {"weight": "weights", "group": "groups", "time": "time"}
# Roles that several columns can have.
LISTS = {"drop": "dropped columns", "categorical": "categorical columns"}

# Fields that have another name in a study's stored identity.
_STORED_NAMES = {"source": "data", "digest": "data_digest"}


def _redacted(address: str) -> str:
    return TableAddress(address).redacted


def _canonical(names: tuple[str, ...]) -> tuple[str, ...]:
    """Sort names, so that another order or a repetition does not make another study."""
    return tuple(sorted(set(names)))


CANONICAL = AfterValidator(_canonical)


class DataDescription(BaseModel):
    """The table that a study learns from, the roles of its columns, and the share held out.

    `StudySpec` makes it, `load_dataset` reads the table by it, and the study's identity and the
    model's record are derived from it. A new column role is a field here and in `StudySpec`, a part
    of `assignments`, and its effect in `load_dataset`.

    Attributes
    ----------
    source
        The table's path or address. Passwords and signatures are replaced by asterisks.
    query
        SQL query that selects the table from a database.
    target
        Column to predict; ``None`` for the last one.
    task
        ``None`` to detect it from the target.
    holdout
        Share of the rows to hold out, from 0 (none) to below 1.
    weight, group, time
        Columns of the rows' weights, groups and times; ``None`` for none.
    drop
        Columns that are not learned from, sorted.
    categorical
        Columns whose values are categories even if they are integers, sorted.
    positive
        The class that scores of two classes such as f1 are about; ``None`` for the rarer one.
    na
        Words that mean that a value is missing, sorted.
    decimal, thousands
        Marks of numbers that are written as text; ``None`` if the table shows them.
    dates
        Order of day and month in columns whose dates do not show it; ``None`` for the default.
    header
        Whether the first row of a CSV or TSV file holds the names of the columns.
    """

    # Unknown fields are kept: a later version may have written them.
    model_config = ConfigDict(frozen=True, extra="allow")

    source: Annotated[str, AfterValidator(_redacted)]
    query: str | None = None
    target: str | None = None
    task: Task | None = None
    holdout: float
    weight: str | None = None
    group: str | None = None
    time: str | None = None
    drop: Annotated[tuple[str, ...], CANONICAL] = ()
    categorical: Annotated[tuple[str, ...], CANONICAL] = ()
    positive: str | None = None
    na: Annotated[tuple[str, ...], CANONICAL] = ()
    decimal: str | None = None
    thousands: str | None = None
    dates: DateOrder | None = None
    header: bool = True

    @property
    def text(self) -> TextFormat:
        """How a CSV or TSV file is written."""
        return TextFormat("," if self.thousands == "." else self.decimal, self.header)

    @property
    def roles(self) -> dict[str, str]:
        """The columns that describe rows, by role."""
        found = {role: getattr(self, role) for role in ROLES}
        return {role: column for role, column in found.items() if column is not None}

    @property
    def lists(self) -> dict[str, tuple[str, ...]]:
        """The columns with a role that several columns can have, by role."""
        found = {role: getattr(self, role) for role in LISTS}
        return {role: columns for role, columns in found.items() if columns}

    @property
    def assignments(self) -> list[tuple[str, str]]:
        """All pairs of a role and a column that has it; a role is named as its option."""
        listed = [(role, column) for role, columns in self.lists.items() for column in columns]
        return [*self.roles.items(), *listed]

    def identity(self) -> dict[str, Any]:
        """Return the description as a study's identity stores it, in types of JSON.

        Fields at their defaults are left out, so that a new field does not change the identity of
        stored studies.
        """
        fields = self.model_dump(mode="json", exclude_defaults=True)
        return {_STORED_NAMES.get(name, name): value for name, value in fields.items()}

    @classmethod
    def from_identity(cls, identity: Mapping[str, Any]) -> Self:
        """Read the description from a study's stored identity."""
        stored = {name: _STORED_NAMES.get(name, name) for name in cls.model_fields}
        return cls(**{name: identity[key] for name, key in stored.items() if key in identity})


class ResolvedDescription(DataDescription):
    """The description of a table that was read: target, task and positive class are known.

    Attributes
    ----------
    digest
        SHA-256 of the table's canonical values, all rows with a target.
    """

    target: str
    task: Task
    digest: str

"""Documents stored with a study in its database: specification, progress and champion."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from search.data.description import ResolvedDescription
from search.errors import StudyError
from storage.records import RunLocation
from storage.studies.study import Study, StudyAttributes

M = TypeVar("M", bound=BaseModel)


def updated(document: M, changes: BaseModel) -> M:
    """Return a copy of a document with the fields that are set in `changes`."""
    update = {name: getattr(changes, name) for name in changes.model_fields_set}
    return document.model_copy(update=update)


class _Document(BaseModel):
    """One stored note. Fields without a value are not written; unknown ones are kept."""

    model_config = ConfigDict(frozen=True, extra="allow", serialize_by_alias=True)

    @model_serializer(mode="wrap")
    def _without_missing(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in serialize(self).items() if value is not None}


class Identity(BaseModel):
    """Everything that decides the scores of a study; it must not change if the study is continued.

    The fields of the description are stored at the same level as the others, not nested.

    Attributes
    ----------
    description
        The table. It may be read from another address later.
    evaluation
        The way trials are scored: ``out-of-bag``, or the number of folds as in ``5 folds``.
    space
        Optuna's distributions by hyperparameter, each as JSON.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    description: ResolvedDescription
    metric: str
    seed: int
    evaluation: str
    space: dict[str, str]

    @model_validator(mode="before")
    @classmethod
    def _from_stored(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or "description" in values:
            return values
        description = ResolvedDescription.from_identity(values)
        stored = description.identity()
        others = {key: value for key, value in values.items() if key not in stored}
        return {"description": description, **others}

    @model_serializer
    def _stored(self) -> dict[str, Any]:
        own = ("metric", "seed", "evaluation", "space", *(self.model_extra or {}))
        return self.description.identity() | {name: getattr(self, name) for name in own}


class EncodedColumns(_Document):
    """Names of the columns of a table that are encoded.

    Attributes
    ----------
    texts
        Columns of free text.
    categories, codes
        Categories that are texts, and those that are whole numbers.
    few_levels
        Those of both that have few enough levels to be one-hot encoded.
    merged
        Columns of the default encoding whose close values were merged (`merging.merge_values`).
    together
        Rows that were kept together when the target encoding was cross-fitted, in words; ``None``
        if they were divided at random.
    """

    texts: list[str] = []
    categories: list[str] = []
    codes: list[str] = []
    few_levels: list[str] = []
    merged: list[str] = []
    together: str | None = None


class Request(_Document):
    """Options of the last launch that are not part of the study's identity."""

    model: str | None = None
    trees: Literal["auto"] | int = "auto"
    champion: Literal["smallest", "best"] = "smallest"


class ChampionNote(_Document):
    """The trial that was refitted as the champion, its number of trees, and its model's name."""

    name: str
    trial: int
    trees: int


class VersionNote(ChampionNote):
    """The registered version of a champion."""

    version: int

    def is_of(self, champion: ChampionNote) -> bool:
        """Whether the version holds this champion."""
        return all(
            getattr(self, name) == getattr(champion, name) for name in ChampionNote.model_fields
        )


class Findings(_Document):
    """Diagnostics of the champion on the held-out rows.

    Attributes
    ----------
    importance
        Columns and the loss in score when each is shuffled, the most important first.
    predicted, true : lists of shape (n_rows,)
        For regression, up to 500 evenly chosen rows.
    rows
        Number of all held-out rows.
    classes, confusion
        For classification with up to 20 classes: their names, and counts of shape
        (n_classes, n_classes) with a row for each true class.
    """

    importance: list[tuple[str, float]]
    predicted: list[float] | None = None
    true: list[float] | None = None
    rows: int | None = None
    classes: list[str] | None = None
    confusion: list[list[int]] | None = None


class GrowingNote(_Document):
    """How far a running trial has grown.

    Attributes
    ----------
    trial
        Number of the trial.
    trees, goal
        Trees that it has now, and those at its next rung, on all samples of the rows together.
    rows
        Number of rows that it grows on.
    """

    trial: int
    trees: int
    goal: int
    rows: int

    def progress(self) -> str:
        """Describe the progress in a few words."""
        return f"{self.trees} of {self.goal} trees on {self.rows:,} rows"


class MirrorNote(_Document):
    """How many trial runs MLflow shows, how many are missing, and where the study's run is."""

    runs: int = 0
    behind: int = 0
    tracking_uri: str | None = None
    experiment_id: str | None = None
    run_id: str | None = None
    url: str | None = None
    view: str | None = None

    @classmethod
    def at(cls, location: RunLocation, *, runs: int, behind: int) -> Self:
        """Combine the counts with the location of the study's run."""
        return cls(runs=runs, behind=behind, **location._asdict())


class Seconds(_Document):
    """Seconds that a study took.

    Attributes
    ----------
    search, total
        All launches of the study together.
    growing
        Time spent growing trees, summed over workers and launches.
    prepare, start_workers, champion, register
        The last launch that did it.
    """

    prepare: float | None = None
    start_workers: float | None = None
    search: float | None = None
    growing: float | None = None
    champion: float | None = None
    # BaseModel has a method `register`.
    register_model: float | None = Field(None, alias="register")
    total: float | None = None


class StudyNotes(StudyAttributes):
    """All documents that the project stores with a study, one Optuna user attribute per field.

    For a study that another program made, all fields have their defaults.

    Attributes
    ----------
    experiment
        Name of the MLflow experiment.
    rows, columns
        Size of the table, including the hold-out and without the target.
    numeric
        Whether all columns are numbers.
    encoded
        Columns that are not numbers, and how they are encoded.
    classes
        Number of rows by class, the most frequent first; ``None`` for a regression.
    guide
        Score that trials report while they grow, if it is not the metric.
    versions
        Python, the machine type, and the libraries with which the study was set up.
    spec
        Written last when a study is set up: without it the set-up is incomplete.
    goal
        Requested number of finished trials, over all launches.
    doing
        Current activity of the coordinator.
    growing
        The trials that grow now.
    workers
        Tasks that can run at the same time now.
    importance
        Importance of each hyperparameter.
    holdout
        The champion's scores on the held-out rows; ``None`` if no rows were held out.
    """

    started: datetime | None = None
    experiment: str = ""
    rows: int = 0
    numeric: bool = False
    columns: int = 0
    encoded: EncodedColumns = EncodedColumns()
    classes: dict[str, int] | None = None
    guide: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    spec: Identity | None = None
    goal: int | None = None
    asked: Request = Request()
    doing: str | None = None
    growing: list[GrowingNote] = Field(default_factory=list)
    workers: int | None = None
    importance: dict[str, float] = Field(default_factory=dict)
    champion: ChampionNote | None = None
    findings: Findings | None = None
    holdout: dict[str, float] | None = None
    model: VersionNote | None = None
    mirror: MirrorNote | None = None
    seconds: Seconds = Seconds()


class InitializedNotes(StudyNotes):
    """The notes on a study that this project has initialized."""

    uid: str
    started: datetime
    spec: Identity


def read_notes(study: Study) -> StudyNotes:
    """Read the notes on any study."""
    return study.read(StudyNotes)


def read_initialized(study: Study) -> InitializedNotes:
    """Read the notes on a study that this project has initialized.

    Raises
    ------
    StudyError
        If another program made the study.
    """
    if read_notes(study).spec is None:
        raise StudyError(f"study '{study.name}' was not made by grovekeeper")
    return study.read(InitializedNotes)

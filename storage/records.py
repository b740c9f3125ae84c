"""Frozen records that cross the seam between the search and what keeps it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

TrialState = Literal["WAITING", "RUNNING", "COMPLETE", "PRUNED", "FAIL"]
Direction = Literal["minimize", "maximize"]
StudyState = Literal["running", "finished", "stopped", "interrupted", "failed", "lost"]
Stage = Literal["Staging", "Production"]
Action = Literal["promote", "refuse", "force", "rollback"]
MoveState = Literal["open", "done", "overtaken", "refused"]


def sign(direction: Direction) -> int:
    """1 where less is better, -1 where more is: times this, values are sorted best first."""
    return 1 if direction == "minimize" else -1


# Of a trial whose coordinator died.
LOST_REASON = "interrupted: its coordinator ended"
FINISHED_STATES: frozenset[str] = frozenset({"COMPLETE", "PRUNED", "FAIL"})


class Span(NamedTuple):
    """A stretch of time in which a worker grew; seconds since 1970, on the worker's clock."""

    worker: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One trial as Optuna's database has it.

    Attributes
    ----------
    params
        Hyperparameters by name.
    scores
        Score by number of trees grown, in the order reported: in the study's metric or, where that
        has one, in its guide (`StudyRecord.guide`).
    value
        The last score, in the study's metric; ``None`` until the trial has ended.
    others
        Scores in the study's further metrics, where it has several.
    trees
        Trees grown in all; ``None`` until the trial has ended.
    fit_seconds
        Seconds that workers spent growing; ``None`` until the trial has ended.
    started, ended
        UTC, with time zone.
    place
        Place in the search, from which the trial's seeds derive: a trial that repeats an
        interrupted one has that one's place.
    repeats
        Number of the interrupted or failed trial whose hyperparameters this one tries again.
    copies
        Number of the finished trial of the same forest, whose results it was given ungrown.
    interrupted
        Whether it ended because its coordinator did.
    given_up
        Whether it failed for good; other failed trials are to be repeated.
    enough_trees
        Of a complete trial: trees with which its squared error is within 0.5% of the infinite
        forest's.
    covered
        Of a complete trial: share of the rows that had votes enough to be scored, or of a class's
        rows where that is less; ``None`` for all of them.
    blocks
        Of a trial that was the best when it was completed: what blocks of rows said of it at each
        number of trees.
    spans
        Which workers grew it, and when.
    reason
        Why the trial failed.
    feasible
        Whether it is within the constraints that others' studies have.
    attributes
        What others noted on it.
    """

    number: int
    state: TrialState
    params: Mapping[str, Any]
    scores: Mapping[int, float] = field(default_factory=dict)
    value: float | None = None
    others: tuple[float, ...] = ()
    trees: int | None = None
    fit_seconds: float | None = None
    started: datetime | None = None
    ended: datetime | None = None
    place: int = 0
    repeats: int | None = None
    copies: int | None = None
    interrupted: bool = False
    given_up: bool = False
    enough_trees: int | None = None
    covered: float | None = None
    blocks: Mapping[int, tuple[float, ...]] | None = None
    spans: tuple[Span, ...] = ()
    reason: str | None = None
    feasible: bool = True
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def ranks(self) -> bool:
        """Whether it may be the best: complete, within its constraints, of a finite value."""
        value = self.value
        known = value is not None and math.isfinite(value)
        return self.state == "COMPLETE" and self.feasible and known


@dataclass(frozen=True, slots=True)
class DataRecord:
    """The table a study learns from: a name, where it came from, and what was in it.

    `digest` is a SHA-256 in hexadecimal over the canonical values.
    """

    name: str
    source: str
    digest: str
    target: str
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """One study as its MLflow run shows it.

    Attributes
    ----------
    uid
        Distinguishes studies with the same name in several databases.
    guide
        Score that trials report while they run; the metric itself for most studies.
    data
        ``None`` if it is not known.
    others
        Further metrics of a study with several objectives.
    hyperparameters
        Names of what is searched.
    charted
        Hyperparameters against which the view charts the metric, if the study searches them.
    steps_param
        Parameter under which a trial's run shows how many steps it took; ``None`` for none.
    counts
        Trials by state.
    best
        Each improvement as (highest trial number that had ended by then, value), oldest first.
    throughput
        Steps per second as (number of trials that had ended, rate), oldest first.
    throughput_metric
        Name under which MLflow shows the throughput.
    holdout
        Scores on the held-out rows.
    note
        Markdown for the run's page.
    attributes
        User attributes that the study's author set, shown as tags.
    """

    name: str
    uid: str
    metric: str
    guide: str
    state: StudyState
    params: Mapping[str, str]
    data: DataRecord | None
    started: datetime
    direction: Direction = "minimize"
    others: tuple[str, ...] = ()
    hyperparameters: tuple[str, ...] = ()
    charted: tuple[str, ...] = ()
    steps_param: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    best: tuple[tuple[int, float], ...] = ()
    throughput: tuple[tuple[int, float], ...] = ()
    throughput_metric: str = "steps_per_second"
    holdout: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


class RunLocation(NamedTuple):
    """Where MLflow has a study's run; pages exist on a server only.

    The fields are ``None`` until they are known.
    """

    tracking_uri: str
    experiment_id: str | None = None
    run_id: str | None = None
    url: str | None = None
    view: str | None = None


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version of a registered model."""

    name: str
    version: int
    stage: str
    aliases: tuple[str, ...]
    run_id: str
    tags: Mapping[str, str]

    @property
    def title(self) -> str:
        """What a message calls it."""
        return f"version {self.version} of {self.name}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the gate found when it compared a version with what it was to replace.

    Attributes
    ----------
    metric
        Name of the score.
    candidate, incumbent
        Their scores on the same rows; ``None`` where there was none.
    interval
        95% confidence interval of candidate minus incumbent.
    rows
        On which both were scored.
    verdict
        In a few words.
    """

    verdict: str
    metric: str | None = None
    candidate: float | None = None
    incumbent: float | None = None
    interval: tuple[float, float] | None = None
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Move:
    """A version that was moved to a stage, or was refused to be.

    Attributes
    ----------
    key
        Its place in the model's history: later moves have greater keys.
    time
        UTC, ISO 8601.
    version, incumbent
        What was to be moved, and what stood in the stage before.
    origin, stage
        The stage it came from, and the one it was moved to.
    user
        Who asked for it.
    state
        ``open`` until it is carried out; ``overtaken`` where a later one was carried out instead.
    """

    key: str
    time: str
    action: Action
    version: int
    origin: str
    stage: Stage
    incumbent: int | None
    user: str
    reason: str | None = None
    judgement: Judgement | None = None
    state: MoveState = "open"

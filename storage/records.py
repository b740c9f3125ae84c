"""Frozen records that `search` and `storage` exchange."""

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
    """Return 1 to minimize and -1 to maximize: values times this are sorted best first."""
    return 1 if direction == "minimize" else -1


# The reason of a trial whose coordinator died.
LOST_REASON = "interrupted: its coordinator ended"
FINISHED_STATES: frozenset[str] = frozenset({"COMPLETE", "PRUNED", "FAIL"})


class Span(NamedTuple):
    """A time in which a worker ran a trial; seconds since 1970, on the worker's clock."""

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
        Score by step, in the order reported: in the study's metric or, if the study has one, in its
        guide (`StudyRecord.guide`).
    value
        The last score, in the study's metric; ``None`` until the trial has ended.
    others
        Scores in the further metrics of a study with several objectives.
    steps
        Number of steps that the trial took; ``None`` until it has ended.
    fit_seconds
        Seconds that workers spent on the trial; ``None`` until it has ended.
    started, ended
        UTC, with time zone.
    place
        Position in the search, from which the trial's seeds derive. A trial that repeats an
        interrupted one has the same place.
    repeats
        Number of the interrupted or failed trial whose hyperparameters this trial tries again.
    copies
        Number of the finished trial with the same hyperparameters whose results this trial was
        given without running.
    interrupted
        Whether the trial ended because its coordinator did.
    given_up
        Whether the trial failed for good; other failed trials are repeated.
    enough_steps
        Of a complete trial: steps with which its error is within 0.5% of that of infinitely many
        steps.
    rows
        Number of rows that its last score is based on.
    model_bytes, model_steps
        Forecast size of the model that the trial would become, and how many steps it would have
        unless the user asks for another number.
    covered
        Of a complete trial: share of the rows that could be scored, or of the rows of one class if
        that is less; ``None`` for all of them.
    blocks
        Of a trial that was the best when it was completed, or was interrupted: scores of blocks of
        rows at each step. Of another trial that was then not shown to be worse: at the last step.
    spans
        Which workers ran the trial, and when.
    reason
        Why the trial failed.
    feasible
        Whether the trial meets the constraints of a study that another program made.
    attributes
        User attributes that the author of such a study set.
    """

    number: int
    state: TrialState
    params: Mapping[str, Any]
    scores: Mapping[int, float] = field(default_factory=dict)
    value: float | None = None
    others: tuple[float, ...] = ()
    steps: int | None = None
    fit_seconds: float | None = None
    started: datetime | None = None
    ended: datetime | None = None
    place: int = 0
    repeats: int | None = None
    copies: int | None = None
    interrupted: bool = False
    given_up: bool = False
    enough_steps: int | None = None
    rows: int | None = None
    model_bytes: int | None = None
    model_steps: int | None = None
    covered: float | None = None
    blocks: Mapping[int, tuple[float, ...]] | None = None
    spans: tuple[Span, ...] = ()
    reason: str | None = None
    feasible: bool = True
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def ranks(self) -> bool:
        """Whether the trial may be the best: complete, feasible, and with a finite value."""
        value = self.value
        known = value is not None and math.isfinite(value)
        return self.state == "COMPLETE" and self.feasible and known


@dataclass(frozen=True, slots=True)
class DataRecord:
    """The table a study learns from: its name, source and content.

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
        """The version's name in messages."""
        return f"version {self.version} of {self.name}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Result of the gate: a version compared with the version that it would replace.

    Attributes
    ----------
    metric
        Name of the score.
    candidate, incumbent
        Their scores on the same rows; ``None`` if there was none.
    interval
        95% confidence interval of candidate minus incumbent.
    rows
        Number of rows on which both were scored.
    verdict
        The result in a few words.
    """

    verdict: str
    metric: str | None = None
    candidate: float | None = None
    incumbent: float | None = None
    interval: tuple[float, float] | None = None
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Move:
    """A move of a version to a stage, carried out or refused.

    Attributes
    ----------
    key
        Position in the model's history: later moves have greater keys.
    time
        UTC, ISO 8601.
    version, incumbent
        The version to move, and the one that was in the stage before.
    origin, stage
        The stages before and after.
    user
        The user who asked for the move.
    state
        ``open`` until it is carried out; ``overtaken`` if a later one was carried out instead.
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

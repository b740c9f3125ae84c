"""The summary that `launch` and `show` print of a study, made from Optuna's database alone."""

import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, WithJsonSchema

from search.formatting import of_trial
from search.study.choice import choose
from search.study.notes import MirrorNote, Seconds, read_notes
from search.study.ranking import score_now
from storage.leases.store import LeaseRecord
from storage.records import Direction, StudyState, TrialRecord
from storage.studies.statistics import TrialStatistics
from storage.studies.study import Study

# JSON has no infinities and no NaN: they are printed as null.
Score = Annotated[float, WithJsonSchema({"type": ["number", "null"]})]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class TrialCounts(_Part):
    """Numbers of trials by state; `goal` is the requested number of finished trials."""

    complete: int
    pruned: int
    interrupted: int
    failed: int
    running: int
    waiting: int
    goal: int | None

    def by_state(self) -> dict[str, int]:
        """Return the states that have trials, with their counts."""
        return {name: n for name, n in self.model_dump(exclude={"goal"}).items() if n}


class LeaseHolder(_Part):
    """The process that runs the study; `expires` is UTC in ISO 8601."""

    owner: str
    host: str
    pid: int
    expires: str

    @classmethod
    def of(cls, lease: LeaseRecord) -> Self:
        """Describe the holder of a lease."""
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(lease.expires))
        return cls(owner=lease.owner, host=lease.host, pid=lease.pid, expires=expires)


class BestTrial(_Part):
    """The complete trial with the best value or, until a trial is complete, the best so far.

    Attributes
    ----------
    value
        The trial's value or, until it has ended, its last score (see `ranking.score_name`).
    rows
        Number of rows that the value is based on; ``None`` if it is not known.
    model_bytes
        Forecast size of the trial's champion; ``None`` if it is not known.
    """

    number: int
    value: float
    params: dict[str, Any]
    state: str = "COMPLETE"
    rows: int | None = None
    model_bytes: int | None = None


class ChampionTrial(_Part):
    """The trial that was refitted as the champion, and the champion's number of trees.

    Attributes
    ----------
    outdated
        Whether the same launch would make another trial's champion now.
    """

    trial: int
    trees: int
    outdated: bool = False


class RegisteredVersion(_Part):
    """Name and number of a registered model version."""

    name: str
    version: int


class MirrorCounts(_Part):
    """Number of trial runs in MLflow, and of runs that MLflow lacks or shows in an older state."""

    runs: int
    behind: int


class StudyPages(_Part):
    """The study's run in MLflow; pages exist on a server only."""

    tracking_uri: str | None
    experiment_id: str | None
    run_id: str | None
    url: str | None
    view: str | None


class StudySummary(_Part):
    """The document that `launch`, `show` and `watch` print with ``--json``.

    Attributes
    ----------
    evaluation
        How trials are scored; ``None`` for a study that another program made.
    classes
        Number of rows by class, the 50 most frequent; ``None`` for a regression.
    positive
        The class that scores of two classes such as f1 are about.
    covered
        Share of the rows that had enough votes to be scored.
    holdout
        The champion's scores on the held-out rows.
    format_version
        Increased when a key changes its meaning or is removed, but not when a key is added.
    """

    study: str
    state: StudyState
    metric: str
    direction: Direction
    trials: TrialCounts
    lease: LeaseHolder | None
    best: BestTrial | None
    evaluation: str | None
    covered: float | None
    classes: dict[str, int] | None
    positive: str | None
    champion: ChampionTrial | None
    holdout: dict[str, Score] | None
    model: RegisteredVersion | None
    mirror: MirrorCounts
    mlflow: StudyPages
    seconds: Seconds
    format_version: Literal[1] = 1

    @property
    def of_trial(self) -> str:
        """Name the champion's trial if it is not the best trial; otherwise empty."""
        champion = None if self.champion is None else self.champion.trial
        return of_trial(champion, None if self.best is None else self.best.number)


def summarize(study: Study, trials: Sequence[TrialRecord] | None = None) -> StudySummary:
    """Summarize a study.

    Parameters
    ----------
    trials
        The study's trials, if they were read already.
    """
    trials = study.trials() if trials is None else trials
    statistics = TrialStatistics(study.direction, trials)
    notes, lease, best = read_notes(study), study.lease(), statistics.candidate
    score = None if best is None else score_now(best)
    chosen = best and choose(best, lambda: trials, study.direction, notes.asked.champion)
    champion, model, mirror = notes.champion, notes.model, notes.mirror or MirrorNote()
    return StudySummary(
        study=study.name,
        state=study.state(),
        metric=study.metric,
        direction=study.direction,
        trials=TrialCounts(**statistics.counts, goal=notes.goal),
        lease=LeaseHolder.of(lease) if lease is not None and lease.alive else None,
        best=None
        if best is None or score is None
        else BestTrial(
            number=best.number,
            value=score,
            params=dict(best.params),
            state=best.state,
            rows=best.rows,
            model_bytes=best.model_bytes,
        ),
        evaluation=None if notes.spec is None else notes.spec.evaluation,
        covered=None if best is None else 1.0 if best.covered is None else best.covered,
        classes=notes.classes,
        positive=None if notes.spec is None else notes.spec.description.positive,
        champion=None
        if champion is None
        else ChampionTrial(
            trial=champion.trial,
            trees=champion.trees,
            outdated=chosen is not None and champion.trial != chosen.number,
        ),
        holdout=notes.holdout,
        model=None if model is None else RegisteredVersion(name=model.name, version=model.version),
        mirror=MirrorCounts(runs=mirror.runs, behind=mirror.behind),
        mlflow=StudyPages(
            tracking_uri=mirror.tracking_uri,
            experiment_id=mirror.experiment_id,
            run_id=mirror.run_id,
            url=mirror.url,
            view=mirror.view,
        ),
        seconds=notes.seconds,
    )

"""The data that a report's figures are drawn from, and the type of a figure."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search.study.notes import StudyNotes, read_notes
from search.study.ranking import best_first
from storage.records import Direction, TrialRecord
from storage.studies.study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from optuna.trial import FrozenTrial

NO_COMPLETE_TRIAL = "No trial is complete yet."


@dataclass(frozen=True)
class Figure:
    """One figure of the report; its texts are plain text.

    Attributes
    ----------
    caption
        One sentence on how to read the figure.
    text
        What the figure shows, as a text alternative. If there is no plot, the reason.
    wide
        Whether the figure takes the page's whole width, and is scrolled on a narrow screen.
    """

    name: str
    title: str
    caption: str
    text: str
    plot: "Axes | None" = None
    wide: bool = False


@dataclass(frozen=True)
class StudyData:
    """A study's trials and notes; if it has several objectives, the first one.

    Attributes
    ----------
    metric
        The metric of the trials' values.
    guide
        The metric of the scores that trials report as they grow.
    complete
        Complete trials that have a finite value and satisfy their constraints.
    ranked
        The same trials, best first; trials of equal value by number.
    optuna_trials
        The same trials as Optuna stores them.
    varied
        Hyperparameters that have several values among the complete trials.
    constant
        Hyperparameters that have one value among the complete trials, with this value.
    notes
        Notes that are stored with the study in its database.
    """

    study: str
    metric: str
    guide: str
    direction: Direction
    trials: list[TrialRecord]
    complete: list[TrialRecord]
    ranked: list[TrialRecord]
    optuna_trials: "list[FrozenTrial]"
    varied: list[str]
    constant: dict[str, Any]
    notes: StudyNotes

    @property
    def best(self) -> TrialRecord | None:
        """The best complete trial."""
        return self.ranked[0] if self.ranked else None

    @property
    def better(self) -> str:
        """The direction in words."""
        return "lower is better" if self.direction == "minimize" else "higher is better"

    def score_text(self, trial: TrialRecord) -> str:
        """Return the metric and the trial's value, such as ``rmse 53.2``."""
        return f"{self.metric} {trial.value:.5g}"


def load_study_data(study: Study) -> StudyData:
    """Read a study's trials and notes from its database."""
    trials, notes = study.trials(), read_notes(study)
    complete = [trial for trial in trials if trial.ranks]
    values: dict[str, list[Any]] = {}
    for trial in complete:
        for name, value in trial.params.items():
            seen = values.setdefault(name, [])
            if len(seen) <= 1 and value not in seen:
                seen.append(value)
    numbers = {trial.number for trial in complete}
    return StudyData(
        study=study.name,
        metric=study.metric,
        guide=notes.guide or study.metric,
        direction=study.direction,
        trials=trials,
        complete=complete,
        ranked=best_first(trials, study.direction),
        optuna_trials=[t for t in study.optuna.get_trials(deepcopy=False) if t.number in numbers],
        varied=sorted(name for name, seen in values.items() if len(seen) > 1),
        constant={name: seen[0] for name, seen in sorted(values.items()) if len(seen) == 1},
        notes=notes,
    )

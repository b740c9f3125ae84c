"""What all figures are drawn from and how they look: a study's facts, and the style."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from search.study.notes import StudyNotes, read_notes
from search.study.ranking import best_first
from storage.records import Direction, TrialRecord
from storage.studies.study import Study

if TYPE_CHECKING:
    import optuna
    from optuna.study import StudyDirection
    from optuna.trial import FrozenTrial

BEST, COMPLETE, RUNNING, PRUNED = "#c2410c", "#2563eb", "#0d9488", "#b8c0cc"
NONE_YET = "No trial is complete yet."
_INK, _GRID = "#1f2937", "#e5e7eb"


@dataclass(frozen=True)
class Figure:
    """One figure of the page; its texts are plain.

    Attributes
    ----------
    reading
        One sentence on how to read it.
    text
        What it shows, for those who do not see it; without a plot: why there is none.
    plot
        ``{"data", "layout"}`` as plotly.js takes it, names in it escaped as for HTML.
    height, width
        Pixels; below the width the figure is scrolled, not squeezed.
    half
        Whether two of its kind may stand side by side.
    """

    name: str
    title: str
    reading: str
    text: str
    plot: dict[str, Any] | None = None
    height: int = 360
    width: int = 0
    half: bool = False


@dataclass(frozen=True)
class Facts:
    """A study as the figures take it; of several objectives it is the first.

    Attributes
    ----------
    guide
        What the scores are that trials report as they grow.
    complete
        Complete trials with a finite value that keep their constraints.
    ranked
        The same, best first; of equal ones the first.
    varied, constant
        Parameters with several values among the complete trials; those with one, and the value.
    notes
        What is kept with the study in its database.
    optuna
        A copy of the complete trials in memory, under their numbers.
    """

    study: str
    metric: str
    guide: str
    direction: Direction
    trials: list[TrialRecord]
    complete: list[TrialRecord]
    ranked: list[TrialRecord]
    varied: list[str]
    constant: dict[str, Any]
    notes: StudyNotes
    optuna: "optuna.Study"

    @property
    def best(self) -> TrialRecord | None:
        """The best complete trial."""
        return self.ranked[0] if self.ranked else None

    @property
    def better(self) -> str:
        """The direction in words."""
        return "lower is better" if self.direction == "minimize" else "higher is better"

    @property
    def axis(self) -> str:
        """The metric as an axis names it."""
        return f"{escape(self.metric, quote=False)} ({self.better})"

    def said(self, trial: TrialRecord) -> str:
        """The metric and a trial's value of it."""
        return f"{self.metric} {trial.value:.5g}"


def gather(study: Study) -> Facts:
    """Gather a study's facts from its database."""
    trials, notes = study.trials(), read_notes(study)
    complete = [trial for trial in trials if trial.ranks]
    ranked = best_first(trials, study.direction)
    seen: dict[str, list[Any]] = {}
    for trial in complete:
        for name, value in trial.params.items():
            values = seen.setdefault(name, [])
            if len(values) <= 1 and value not in values:
                values.append(value)
    metric = study.metric
    return Facts(
        study=study.name,
        metric=metric,
        guide=notes.guide or metric,
        direction=study.direction,
        trials=trials,
        complete=complete,
        ranked=ranked,
        varied=sorted(name for name, values in seen.items() if len(values) > 1),
        constant={name: values[0] for name, values in sorted(seen.items()) if len(values) == 1},
        notes=notes,
        optuna=_copy(study, {trial.number for trial in complete}),
    )


def _copy(study: Study, numbers: set[int]) -> "optuna.Study":
    """Copy the trials of these numbers to memory; others become empty ones, so numbers stay."""
    import optuna

    empty = optuna.trial.create_trial(state=optuna.trial.TrialState.WAITING)
    return in_memory(
        study.optuna.directions[0],
        [
            optuna.trial.create_trial(
                value=trial.values[0], params=trial.params, distributions=trial.distributions
            )
            if trial.number in numbers
            else empty
            for trial in study.optuna.get_trials(deepcopy=False)
        ],
    )


def in_memory(direction: "StudyDirection", trials: "Iterable[FrozenTrial]") -> "optuna.Study":
    """Make a study that is kept nowhere."""
    import optuna

    study = optuna.create_study(direction=direction)
    study.add_trials(trials)
    return study


def plain(figure: Any) -> dict[str, Any]:
    """Turn one of Optuna's figures into a dictionary, its strings escaped: they hold names."""
    made: dict[str, Any] = _escaped(figure.to_dict())
    return made


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return escape(value, quote=False)
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(item) for item in value]
    return value


def styled(
    data: list[dict[str, Any]], x: str, y: str, *, legend: bool = False, **layout: Any
) -> dict[str, Any]:
    """Put traces under axes of these names (escaped as for HTML), in the page's style."""
    axis = {"gridcolor": _GRID, "linecolor": _GRID, "zeroline": False, "automargin": True}
    common = {
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": _INK},
        "margin": {"l": 56, "r": 16, "t": 32 if legend else 12, "b": 48},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "hovermode": "closest",
        "showlegend": legend,
        "dragmode": False,  # a finger on a figure scrolls the page
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    }
    axes = {
        "xaxis": axis | {"title": {"text": x}} | layout.pop("xaxis", {}),
        "yaxis": axis | {"title": {"text": y}} | layout.pop("yaxis", {}),
    }
    return {"data": data, "layout": common | axes | layout}


def log_ticks(low: float, high: float) -> dict[str, Any]:
    """Make a logarithmic axis with whole numbers written out: 1, 2, 5, 10, 20, ..."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) <= 4 else (1,)  # noqa: PLR2004
    ticks = [factor * 10.0**power for power in powers for factor in factors]
    inside = [tick for tick in ticks if low <= tick <= high]
    if len(inside) <= 1:
        inside = [low, high]
    return {"type": "log", "tickvals": inside, "ticktext": [f"{tick:.4g}" for tick in inside]}

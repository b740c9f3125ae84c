"""The effect of hyperparameters: importance, a slice of each, and parallel coordinates.

`optuna.visualization.matplotlib` has these figures, but they depend on pyplot's global state and
style, take a dollar sign in a name for a formula, and draw thousands of trials line by line.
"""

import math
import textwrap
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from search import plotting
from search.formatting import params_listed, short
from search.plotting import BEST
from search.report.study_data import NO_COMPLETE_TRIAL, Figure, StudyData

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from optuna.distributions import CategoricalDistribution

# Complete trials from which importance is computed, and from which it is reliable.
_MIN_TRIALS, _RELIABLE = 10, 50
# Only this many hyperparameters are shown, because other programs' studies can have hundreds.
_MAX_SHOWN = 20
# More lines are not legible.
_MAX_LINES = 200
_AXIS_WIDTH = 1.5
# Characters of an axis' labels that fit side by side.
_MAX_LABELS_LENGTH = 50


def parameters(data: StudyData) -> list[Figure]:
    """Draw importance, slices (the most important hyperparameter first) and parallel lines."""
    figure, order = _importance(data)
    return [figure, *_slices(data, order), _parallel(data, order[:_MAX_SHOWN])]


def _nothing_to_compare(data: StudyData) -> str | None:
    """Return why the effect of hyperparameters cannot be shown, or ``None``."""
    if not data.complete:
        return NO_COMPLETE_TRIAL
    if len(data.complete) == 1:
        return "Only one trial is complete, so there is nothing to compare it with."
    if not data.varied:
        return _constants(data)
    return None


def _constants(data: StudyData) -> str:
    values = ", ".join(f"{name} was {short(value)}" for name, value in data.constant.items())
    return f"In every complete trial {values}." if values else "The trials have no hyperparameters."


def _importance(data: StudyData) -> tuple[Figure, list[str]]:
    """Return the figure, and the hyperparameters in order of importance."""
    name, title = "importance", "Hyperparameter importance"
    n = len(data.complete)
    caption = (
        "A bar shows how much the values of a hyperparameter in the best tenth of trials "
        f"({math.ceil(n / 10)} of {n}) differ from those in all complete trials (PED-ANOVA, "
        "normalized to a sum of 1)."
    )
    if n < _RELIABLE:
        caption = f"{caption[:-1]}; with fewer than {_RELIABLE} trials this is only a hint."
    missing = _nothing_to_compare(data)
    if missing is None and len(data.varied) == 1:
        missing = f"Only {data.varied[0]} had more than one value."
    if missing is None and n < _MIN_TRIALS:
        missing = f"Importance needs {_MIN_TRIALS} complete trials; this study has {n}."
    if missing is None and len({trial.value for trial in data.complete}) == 1:
        missing = f"All complete trials have the same {data.metric}."
    if missing is not None:
        return Figure(name, title, caption, missing), data.varied
    shares = _compute_importance(data)
    shown = list(shares.items())[:_MAX_SHOWN]
    axes = plotting.new_axes(height=plotting.rows_height(len(shown)))
    plotting.draw_importance(axes, [key for key, _ in shown], [share for _, share in shown])
    axes.set_xlabel("importance")
    listed = ", ".join(f"{key} {share:.2f}" for key, share in shares.items())
    text = f"from the most important: {listed}"
    return Figure(name, title, caption, text, axes), list(shares)


def _compute_importance(data: StudyData) -> dict[str, float]:
    """Return the importance of each varied hyperparameter, the greatest first, then by name."""
    import optuna

    study = optuna.create_study(direction=data.direction)
    study.add_trials(
        optuna.trial.create_trial(
            value=trial.values[0], params=trial.params, distributions=trial.distributions
        )
        for trial in data.optuna_trials
    )
    with warnings.catch_warnings():
        # Too few trials have this hyperparameter, or its range changed; the others are unaffected.
        warnings.filterwarnings("ignore", message="Some regimes for parameter")
        found = optuna.importance.get_param_importances(study, params=data.varied)
    return {
        name: float(share) for name, share in sorted(found.items(), key=lambda i: (-i[1], i[0]))
    }


class _Scale(NamedTuple):
    """How an axis shows values: numbers, or categorical choices at 0, 1, 2, ...

    Attributes
    ----------
    distribution
        The distribution of a categorical hyperparameter; else ``None``.
    choices
        Its choices that occur, as indices of ``distribution.choices`` in ascending order.
    """

    log: bool = False
    distribution: "CategoricalDistribution | None" = None
    choices: tuple[int, ...] = ()

    def place(self, value: Any) -> float:
        """Return the value's coordinate."""
        if self.distribution is None:
            return float(value)
        return float(self.choices.index(int(self.distribution.to_internal_repr(value))))

    def ticks(self, low: float, high: float) -> tuple[list[float], list[str]]:
        """Return the ticks between two coordinates, and their labels."""
        if self.distribution is not None:
            labels = [short(self.distribution.choices[index]) for index in self.choices]
            return [*map(float, range(len(labels)))], [plotting.label(text, 20) for text in labels]
        if self.log:
            ticks = plotting.log_ticks(low, high)
        else:
            from matplotlib.ticker import MaxNLocator

            ticks = [*MaxNLocator(6, steps=(1, 2, 5, 10)).tick_values(low, high)]
            ticks = [tick for tick in ticks if low <= tick <= high]
        return ticks, [f"{tick:.4g}" for tick in ticks]


def _scale_of(data: StudyData, parameter: str) -> _Scale:
    from optuna.distributions import CategoricalDistribution

    trials = [trial for trial in data.optuna_trials if parameter in trial.params]
    distribution = trials[0].distributions[parameter]
    if isinstance(distribution, CategoricalDistribution):
        used = {int(distribution.to_internal_repr(trial.params[parameter])) for trial in trials}
        return _Scale(distribution=distribution, choices=tuple(sorted(used)))
    return _Scale(log=bool(getattr(distribution, "log", False)))


def _slices(data: StudyData, order: list[str]) -> list[Figure]:
    missing = _nothing_to_compare(data)
    if missing is not None:
        caption = f"A dot is a complete trial: its value of a hyperparameter and its {data.metric}."
        return [Figure("slices", "Slices", caption, missing)]
    shown = order[:_MAX_SHOWN]
    figures = [_slice(data, parameter, place) for place, parameter in enumerate(shown, 1)]
    if len(shown) < len(order):
        text = f"Slices show the {len(shown)} most important of {len(order)} hyperparameters."
        figures.append(Figure("more", "Further slices", "", text))
    if data.constant:
        caption = "A hyperparameter with one value has no slice."
        figures.append(Figure("constant", "Constant hyperparameters", caption, _constants(data)))
    return figures


def _slice(data: StudyData, parameter: str, place: int) -> Figure:
    from matplotlib.colors import LinearSegmentedColormap

    trials = [trial for trial in data.complete if parameter in trial.params]
    scale = _scale_of(data, parameter)
    places = [scale.place(trial.params[parameter]) for trial in trials]
    axes = plotting.new_axes()
    axes.scatter(
        places,
        [trial.value or 0.0 for trial in trials],
        c=[trial.number for trial in trials],
        cmap=LinearSegmentedColormap.from_list("", [plotting.LIGHT, plotting.DARK]),
        s=24,
        edgecolors="#64748b",
        linewidths=0.4,
        rasterized=plotting.is_dense(len(trials)),
    )
    text = f"{len(trials)} complete trials"
    best = data.best
    if best is not None and parameter in best.params:
        value = best.params[parameter]
        axes.plot(scale.place(value), best.value or 0.0, "*", color=BEST, markersize=13)
        text = f"best {data.score_text(best)} at {parameter} {short(value)}"
    if scale.distribution is not None or scale.log:
        ticks, labels = scale.ticks(min(places), max(places))
        if scale.log:
            axes.set_xscale("log")
        else:
            axes.set_xlim(-0.5, len(ticks) - 0.5)
        plotting.set_ticks(axes.xaxis, ticks, labels)
        if sum(map(len, labels)) > _MAX_LABELS_LENGTH:
            axes.tick_params(axis="x", rotation=90)
    axes.set(
        xlabel=plotting.label(parameter, 60),
        ylabel=f"{plotting.label(data.metric)} ({data.better})",
    )
    axis = " (logarithmic axis)" if scale.log else ""
    caption = (
        f"A dot is a complete trial: its {parameter}{axis} and its {data.metric}; later trials are "
        "darker, the star is the best."
    )
    return Figure(f"slice-{place}", f"Slice: {parameter}", caption, text, axes)


def _parallel(data: StudyData, order: list[str]) -> Figure:
    name, title = "parallel", "Parallel coordinates"
    n = len(data.ranked)
    lines = min(n, _MAX_LINES)
    which = "a complete trial" if lines == n else f"one of {lines} evenly chosen complete trials"
    caption = (
        f"A line is {which} through its {data.metric} and its hyperparameters; better trials are "
        "darker, the thick line is the best."
    )
    missing = _nothing_to_compare(data)
    if missing is None and len(data.varied) == 1:
        missing = f"Only {data.varied[0]} had more than one value: see its slice."
    best = data.best
    if missing is not None or best is None:
        return Figure(name, title, caption, missing or NO_COMPLETE_TRIAL)
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap

    # The worst first, so that the best is on top.
    trials = [data.ranked[place * (n - 1) // (lines - 1)] for place in reversed(range(lines))]
    names = [key for key in sorted(order) if any(key in trial.params for trial in trials)]
    axes = plotting.new_axes(width=_AXIS_WIDTH * (len(names) + 1), height=4.2)
    heights = [_draw_coordinate(axes, 0, _Scale(), [trial.value or 0.0 for trial in trials])]
    for place, key in enumerate(names, start=1):
        scale = _scale_of(data, key)
        known = [scale.place(t.params[key]) if key in t.params else None for t in trials]
        heights.append(_draw_coordinate(axes, place, scale, known))
    points, x = np.transpose(heights), np.arange(len(heights))
    segments = LineCollection(
        [np.column_stack([x, y]) for y in points[:-1]],
        array=np.arange(len(points) - 1),
        cmap=LinearSegmentedColormap.from_list("", [plotting.LIGHT, plotting.DARK]),
        linewidths=1,
        zorder=1,
    )
    axes.add_collection(segments)
    axes.plot(x, points[-1], color=BEST, linewidth=2.5, zorder=2)
    axes.set_xticks(x, [_wrapped(key) for key in (data.metric, *names)])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set(xlim=(-0.4, len(names) + 0.4), ylim=(-0.05, 1.05))
    listed = params_listed({key: best.params[key] for key in order if key in best.params})
    text = f"the best, trial {best.number}: {data.score_text(best)} with {listed}"
    return Figure(name, title, caption, text, axes, wide=True)


def _draw_coordinate(
    axes: "Axes", x: int, scale: _Scale, places: Sequence[float | None]
) -> list[float]:
    """Draw a vertical axis with its ticks; return the height of each place, between 0 and 1.

    Trials without the hyperparameter, ``None``, get a tick of their own at the bottom.
    """
    known = [place for place in places if place is not None]
    low, high = min(known), max(known)
    if scale.distribution is not None:
        low, high = 0.0, len(scale.choices) - 1.0
    bottom = 0.0 if len(known) == len(places) else 0.12
    ends = (math.log10(low), math.log10(high)) if scale.log else (low, high)

    def height(place: float | None) -> float:
        if place is None:
            return 0.0
        if low == high:
            return 0.5
        there = math.log10(place) if scale.log else place
        return bottom + (1 - bottom) * (there - ends[0]) / (ends[1] - ends[0])

    axes.plot([x, x], [0, 1], color="0.6", linewidth=1, zorder=3)
    ticks = [(height(tick), text) for tick, text in zip(*scale.ticks(low, high), strict=True)]
    if bottom:
        ticks.append((0.0, "not set"))
    for y, text in ticks:
        axes.text(
            x - 0.03,
            y,
            text,
            ha="right",
            va="center",
            fontsize=9,
            zorder=4,
            bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1},
        )
    return [height(place) for place in places]


def _wrapped(name: str) -> str:
    """Break a name into lines, after underscores if possible."""
    spaced = plotting.label(name, 60).replace("_", "_ ")
    return textwrap.fill(spaced, 16).replace("_ ", "_")

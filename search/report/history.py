"""The progress of a study: the best value by trial and by time, and each trial's learning curve."""

import math
from typing import TYPE_CHECKING

from search import plotting
from search.plotting import BEST, COMPLETE, PRUNED, RUNNING
from search.report.study_data import NO_COMPLETE_TRIAL, Figure, StudyData
from storage.records import TrialRecord, sign
from storage.studies.statistics import BusyTime, by_end

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Up to this many numbers of trees, each number has its own tick.
_MAX_TICKS = 8


def history(data: StudyData) -> Figure:
    """Draw each complete trial's value, and the best value so far."""
    name, title = "history", "Optimization history"
    caption = (
        f"A dot is the {data.metric} of a complete trial; the line is the best up to that trial."
    )
    if data.best is None:
        return Figure(name, title, caption, NO_COMPLETE_TRIAL)
    axes = _metric_axes(data, "trial")
    numbers = [trial.number for trial in data.complete]
    values = [trial.value or 0.0 for trial in data.complete]
    axes.scatter(
        numbers,
        values,
        s=16,
        alpha=0.6,
        linewidths=0,
        color=COMPLETE,
        label="complete trial",
        rasterized=plotting.is_dense(len(values)),
    )
    best = _improvements(data, list(zip(numbers, values, strict=True)))
    axes.step(
        *zip(*best, (numbers[-1], best[-1][1]), strict=True),
        where="post",
        color=BEST,
        label="best so far",
    )
    plotting.add_legend(axes)
    text = f"best {data.score_text(data.best)} at trial {data.best.number} of {len(data.trials)}"
    return Figure(name, title, caption, text, axes)


def best_over_time(data: StudyData) -> Figure:
    """Draw the best value over the seconds in which trials ran."""
    name, title = "time", "Best value over time"
    caption = (
        f"The line is the best {data.metric} of the trials that had ended by then, over the "
        "seconds in which trials ran; the time between launches is left out."
    )
    if data.best is None:
        return Figure(name, title, caption, NO_COMPLETE_TRIAL)
    seconds = busy_seconds(data.trials)
    ended = [
        (seconds[trial.number], trial.number, trial.value or 0.0)
        for trial in data.complete
        if trial.number in seconds
    ]
    total = max(seconds.values(), default=0.0)
    if not ended or total <= 0:
        return Figure(name, title, caption, "The trials have no times.")
    best = _improvements(data, [(second, value) for second, _, value in sorted(ended)])
    when, value = best[-1]
    axes = _metric_axes(data, "seconds in which trials ran")
    axes.step(*zip(*best, (total, value), strict=True), where="post", color=BEST)
    axes.plot(*zip(*best, strict=True), "o", color=BEST, markersize=5)
    axes.set_xlim(-0.02 * total, 1.02 * total)
    text = f"best {data.metric} {value:.5g} after {when:.3g} of {total:.3g} seconds"
    return Figure(name, title, caption, text, axes)


def _metric_axes(data: StudyData, x: str) -> "Axes":
    axes = plotting.new_axes()
    axes.set(xlabel=x, ylabel=f"{plotting.label(data.metric)} ({data.better})")
    return axes


def _improvements(data: StudyData, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points whose value, the second item, is better than all before."""
    better, best = sign(data.direction), list[tuple[float, float]]()
    for x, value in points:
        if not best or better * value < better * best[-1][1]:
            best.append((x, value))
    return best


def busy_seconds(trials: list[TrialRecord]) -> dict[int, float]:
    """Return, by trial number, the seconds from the study's start to the trial's end.

    Time in which no trial ran does not count. Interrupted trials are left out: the end of such a
    trial was recorded by the process that found it later.
    """
    ended = [t for t in trials if t.started and t.ended and not t.interrupted]
    busy, total, seconds = BusyTime(), 0.0, dict[int, float]()
    for trial in sorted(ended, key=by_end):
        total += busy.add(trial)
        seconds[trial.number] = total
    return seconds


def learning_curves(data: StudyData) -> Figure:
    """Draw each trial's reported scores over its number of trees."""
    # The steps of a study that Grovekeeper did not make may count anything.
    unit = "trees" if data.notes.spec else "steps"
    name, title = "curves", f"{data.guide} by number of {unit}"
    caption = (
        f"A line is a trial with the {data.guide} that it reported at each number of {unit}; "
        "pruned trials (stopped early) are gray."
    )
    shown = [t for t in data.trials if t.scores and t.state in {"COMPLETE", "PRUNED", "RUNNING"}]
    if not shown:
        return Figure(name, title, caption, "No trial has reported a score.")
    best = data.best if data.best and data.best.scores else None
    number = None if best is None else best.number
    pruned = [trial for trial in shown if trial.state == "PRUNED"]
    running = [trial for trial in shown if trial.state == "RUNNING"]
    complete = [t for t in shown if t.state == "COMPLETE" and t.number != number]
    axes = plotting.new_axes()
    for kind, trials, color, width in (
        (f"pruned ({len(pruned)})", pruned, PRUNED, 1),
        (f"running ({len(running)})", running, RUNNING, 1),
        (f"complete ({len(complete)})", complete, COMPLETE, 1),
        (f"best (trial {number})", [best] if best else [], BEST, 2.5),
    ):
        if trials:
            x, y = _joined(trials)
            axes.plot(
                x,
                y,
                marker="o",
                markersize=2 + width,
                linewidth=width,
                color=color,
                alpha=max(0.2, min(1.0, 100 / len(trials))),
                label=kind,
                rasterized=plotting.is_dense(len(x)),
            )
    trees = sorted({count for trial in shown for count in trial.scores})
    if trees[0] > 0:
        axes.set_xscale("log")
        few = len(trees) <= _MAX_TICKS
        plotting.set_ticks(axes.xaxis, trees if few else plotting.log_ticks(trees[0], trees[-1]))
    axes.set(xlabel=unit, ylabel=plotting.label(data.guide))
    plotting.add_legend(axes)
    text = f"{len(shown)} trials, {len(pruned)} of them pruned"
    if best:
        known = {count: score for count, score in best.scores.items() if math.isfinite(score)}
        points = [f"{score:.5g} at {count} {unit}" for count, score in known.items()]
        text += f"; the best, trial {number}, has {data.guide} {', '.join(points)}"
    return Figure(name, title, caption, text, axes)


def _joined(trials: list[TrialRecord]) -> tuple[list[float], list[float]]:
    """Return all trials' points as one line with a gap after each trial.

    One line is drawn and stored faster than one for each of thousands of trials, which is what
    `optuna.visualization.matplotlib.plot_intermediate_values` draws.
    """
    points = [point for trial in trials for point in [*trial.scores.items(), (math.nan, math.nan)]]
    return [x for x, _ in points], [y for _, y in points]

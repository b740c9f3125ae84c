"""How a study came on: best value over trials and over time, and each trial's curve over trees."""

from html import escape
from typing import Any

from search.report.study_data import (
    BEST,
    COMPLETE,
    NONE_YET,
    PRUNED,
    RUNNING,
    Facts,
    Figure,
    log_ticks,
    plain,
    styled,
)
from storage.records import TrialRecord, sign
from storage.studies.statistics import BusyTime, by_end

# Up to so many numbers of trees, each has its tick.
_TICKS = 8


def history(facts: Facts) -> Figure:
    """Draw the best value over trials."""
    name, title = "history", "Best value over trials"
    reading = f"A dot is a complete trial's {facts.metric}, the line the best up to that trial."
    if facts.best is None:
        return Figure(name, title, reading, NONE_YET)
    from optuna.visualization import plot_optimization_history

    dots, line, *_ = plain(plot_optimization_history(facts.optuna))["data"]
    dots |= {"name": "complete trial", "marker": {"color": COMPLETE, "opacity": 0.6}}
    dots["hovertemplate"] = (
        f"trial %{{x}}<br>{escape(facts.metric, quote=False)} %{{y:.5g}}<extra></extra>"
    )
    line |= {"name": "best so far", "hoverinfo": "skip", "line": {"color": BEST, "shape": "hv"}}
    text = f"best {facts.said(facts.best)} at trial {facts.best.number} of {len(facts.trials)}"
    return Figure(
        name, title, reading, text, styled([dots, line], "trial", facts.axis, legend=True)
    )


def over_time(facts: Facts) -> Figure:
    """Draw the best value over the seconds in which trials ran."""
    name, title = "time", "Best value over time"
    reading = (
        f"The line is the best {facts.metric} of the trials that had ended by then, over the "
        "seconds in which trials ran; the time between launches is left out."
    )
    if facts.best is None:
        return Figure(name, title, reading, NONE_YET)
    seconds = busy_seconds(facts.trials)
    timed = [trial for trial in facts.complete if trial.number in seconds]
    total = max(seconds.values(), default=0.0)
    if not timed or total <= 0:
        return Figure(name, title, reading, "The trials hold no times.")
    better, steps = sign(facts.direction), list[tuple[float, float, str]]()
    for trial in sorted(timed, key=lambda trial: (seconds[trial.number], trial.number)):
        value = trial.value or 0.0
        if not steps or better * value < better * steps[-1][1]:
            steps.append((seconds[trial.number], value, f"trial {trial.number}"))
    when, best, _ = steps[-1]
    x, y, texts = zip(*steps, (total, best, "the end"), strict=True)
    line = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": x,
        "y": y,
        "text": texts,
        "line": {"color": BEST, "shape": "hv"},
        "marker": {"opacity": 1, "size": [8] * len(steps) + [0]},
        "hovertemplate": "%{text}, after %{x:.4g} seconds<br>"
        f"{escape(facts.metric, quote=False)} %{{y:.5g}}<extra></extra>",
    }
    axis = {"range": [-0.02 * total, 1.02 * total]}
    plot = styled([line], "seconds in which trials ran", facts.axis, xaxis=axis)
    text = f"best {facts.metric} {best:.5g} after {when:.3g} of {total:.3g} seconds"
    return Figure(name, title, reading, text, plot)


def busy_seconds(trials: list[TrialRecord]) -> dict[int, float]:
    """Return by trial the seconds from the study's begin to its end, without idle time.

    An interrupted trial counts for nothing: its end was entered by whoever found it later.
    """
    ended = [t for t in trials if t.started and t.ended and not t.interrupted]
    busy, total, seconds = BusyTime(), 0.0, dict[int, float]()
    for trial in sorted(ended, key=by_end):
        total += busy.add(trial)
        seconds[trial.number] = total
    return seconds


def curves(facts: Facts) -> Figure:
    """Draw each trial's scores over the number of its trees."""
    metric = facts.guide
    # What the steps of a study made elsewhere are, nobody knows.
    unit = "trees" if facts.notes.spec else "steps"
    name, title = "curves", f"{metric} by number of {unit}"
    reading = (
        f"A line is a trial: its {metric} at each number of {unit} that it reported at; those "
        "stopped early (pruned) are pale."
    )
    shown = [t for t in facts.trials if t.scores and t.state in {"COMPLETE", "PRUNED", "RUNNING"}]
    if not shown:
        return Figure(name, title, reading, "No trial has reported a score while it grew.")
    best = facts.best if facts.best and facts.best.scores else None
    number = None if best is None else best.number
    groups = (
        ("pruned", [t for t in shown if t.state == "PRUNED"], PRUNED, 1),
        ("running", [t for t in shown if t.state == "RUNNING"], RUNNING, 1),
        (
            "complete",
            [t for t in shown if t.state == "COMPLETE" and t.number != number],
            COMPLETE,
            1,
        ),
        ("best", [best] if best else [], BEST, 3),
    )
    hover = f"%{{text}}: {escape(metric, quote=False)} %{{y:.5g}} at %{{x}} {unit}<extra></extra>"
    data = [
        _trace(trials)
        | {
            "name": f"{kind} ({len(trials)})" if kind != "best" else f"best (trial {number})",
            "line": {"color": color, "width": width},
            "marker": {"color": color, "size": 4 + width},
            "opacity": max(0.1, min(1.0, 100 / len(trials))),
            "hovertemplate": hover,
        }
        for kind, trials, color, width in groups
        if trials
    ]
    trees = sorted({count for trial in shown for count in trial.scores})
    axis: dict[str, Any] = log_ticks(trees[0], trees[-1]) if trees[0] > 0 else {}
    if len(trees) <= _TICKS:
        axis |= {"tickvals": trees, "ticktext": [str(count) for count in trees]}
    pruned = len(groups[0][1])
    text = f"curves: {len(shown)}, of trials stopped early: {pruned}"
    if best:
        points = [f"{score:.5g} at {count} {unit}" for count, score in best.scores.items()]
        text += f"; the best, trial {number}, has {metric} {', '.join(points)}"
    plot = styled(data, unit, escape(metric, quote=False), xaxis=axis, legend=True)
    return Figure(name, title, reading, text, plot)


def _trace(trials: list[TrialRecord]) -> dict[str, Any]:
    """Make one trace of many lines, with a gap after each: browsers choke on thousands of traces.

    So these are not `optuna.visualization.plot_intermediate_values`, which makes one a trial.
    """
    points = [
        (count, score, f"trial {trial.number}")
        for trial in trials
        for count, score in [*trial.scores.items(), (None, None)]
    ]
    x, y, texts = zip(*points, strict=True)
    return {"type": "scatter", "mode": "lines+markers", "x": x, "y": y, "text": texts}

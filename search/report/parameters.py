"""What the hyperparameters did: their importance, a slice for each, and all of them at once."""

import math
import warnings
from html import escape
from typing import Any

from search.formatting import params_listed, short
from search.report.study_data import (
    BEST,
    COMPLETE,
    NONE_YET,
    Facts,
    Figure,
    in_memory,
    log_ticks,
    plain,
    styled,
)

# Complete trials from which importance is weighed; below so many, or so few best, it is a hint.
_ENOUGH, _SOUND = 10, 50
# More lines are neither legible nor quick to draw.
_LINES = 200
_LEAST = 0.01
_LATER = [[0, "#e0e7ff"], [1, "#1e3a8a"]]


def parameters(facts: Facts) -> list[Figure]:
    """Draw importance, slices (the most important parameter first) and parallel coordinates."""
    figure, order = _importance(facts)
    return [figure, *_slices(facts, order), _parallel(facts, order)]


def _nothing_to_compare(facts: Facts) -> str | None:
    """Say why parameters cannot be judged, if so."""
    if not facts.complete:
        return NONE_YET
    if len(facts.complete) == 1:
        return "Only one trial is complete: there is nothing to compare it with."
    if not facts.varied:
        return _constants(facts)
    return None


def _constants(facts: Facts) -> str:
    said = ", ".join(f"{name} was {short(value)}" for name, value in facts.constant.items())
    return f"In every complete trial {said}." if said else "The trials have no parameters."


def _importance(facts: Facts) -> tuple[Figure, list[str]]:
    name, title = "importance", "Importance of parameters"
    n = len(facts.complete)
    top = math.ceil(n / 10)
    reading = (
        f"The longer a bar, the more a parameter's values among the best tenth ({top} of {n} "
        "complete trials) differ from those among all (PED-ANOVA); the bars add up to 1."
    )
    if n < _SOUND:
        reading = f"{reading[:-1]}, and from so few trials they are a hint."
    why = _nothing_to_compare(facts)
    if why is None and len(facts.varied) == 1:
        why = f"Only {facts.varied[0]} had more than one value: there is nothing to weigh it by."
    if why is None and n < _ENOUGH:
        why = f"{n} trials are complete; importance is weighed from {_ENOUGH} on."
    if why is None and len({trial.value for trial in facts.complete}) == 1:
        why = f"All complete trials have the same {facts.metric}."
    if why is not None:
        return Figure(name, title, reading, why), facts.varied
    from optuna.visualization import plot_param_importances

    with warnings.catch_warnings():
        # A parameter that few trials have, or whose range was changed: the figure is still right
        # for the others, and the user can do nothing about it.
        warnings.filterwarnings("ignore", message="Some regimes for parameter")
        figure = plot_param_importances(facts.optuna, params=facts.varied)
    # The evaluator goes through a set: equal ones would change places from run to run.
    (bars,) = figure.data
    pairs = sorted(zip(bars.x, bars.y, strict=True), key=lambda pair: (-pair[0], pair[1]))
    order = [str(parameter) for _, parameter in pairs]
    (bar,) = plain(figure)["data"]
    bar |= {
        "x": [float(share) for share, _ in reversed(pairs)],
        "y": [escape(parameter, quote=False) for parameter in reversed(order)],
        "text": [f"{share:.2f}" if share >= _LEAST else "&lt;0.01" for share, _ in reversed(pairs)],
        "marker": {"color": COMPLETE},
        "hoverinfo": "skip",
    }
    del bar["hovertemplate"]
    plot = styled(
        [bar],
        "share of importance",
        "",
        xaxis={"range": [0, 1.12 * float(pairs[0][0])]},
        yaxis={"type": "category"},
    )
    said = ", ".join(f"{parameter} {share:.2f}" for share, parameter in pairs)
    height = 110 + 34 * len(pairs)
    return Figure(name, title, reading, f"from the most important: {said}", plot, height), order


def _slices(facts: Facts, order: list[str]) -> list[Figure]:
    why = _nothing_to_compare(facts)
    if why is not None:
        reading = f"A dot is a complete trial: a parameter's value and the trial's {facts.metric}."
        return [Figure("slices", "Slices", reading, why)]
    figures = [_slice(facts, parameter, place) for place, parameter in enumerate(order, 1)]
    if facts.constant:
        reading = "What does not vary has no slice."
        figures.append(Figure("constant", "Parameters of one value", reading, _constants(facts)))
    return figures


def _slice(facts: Facts, parameter: str, place: int) -> Figure:
    from optuna.visualization import plot_slice

    made = plain(plot_slice(facts.optuna, params=[parameter]))
    (dots,), axis, label = made["data"], made["layout"]["xaxis"], escape(parameter, quote=False)
    numbers = list(dots["marker"]["color"])
    dots |= {
        "name": "complete trial",
        "text": [f"trial {number}" for number in numbers],
        "hovertemplate": f"%{{text}}<br>{label} %{{x}}<br>"
        f"{escape(facts.metric, quote=False)} %{{y:.5g}}<extra></extra>",
        "marker": {
            "color": numbers,
            "colorscale": _LATER,
            "size": 8,
            "line": {"width": 0.5, "color": "#64748b"},
        },
    }
    data, text = [dots], f"complete trials: {len(numbers)}"
    best = facts.best
    if best is not None and best.number in numbers:
        at = numbers.index(best.number)
        star = {"color": BEST, "size": 13, "symbol": "star"}
        data.append(dots | {"x": [dots["x"][at]], "y": [dots["y"][at]], "marker": star})
        data[-1] |= {"name": f"best (trial {best.number})", "text": [f"trial {best.number}"]}
        text = f"best {facts.said(best)} at {parameter} {short(best.params[parameter])}"
    kept = {key: axis[key] for key in ("type", "categoryorder", "categoryarray") if key in axis}
    if kept.get("type") == "log":
        kept = log_ticks(min(dots["x"]), max(dots["x"]))
    plot = styled(data, label, facts.axis, xaxis=kept)
    scale = " (logarithmic axis)" if kept.get("type") == "log" else ""
    reading = (
        f"A dot is a complete trial: its {parameter}{scale} and its {facts.metric}; "
        "darker is later, the star is the best."
    )
    return Figure(
        f"slice-{place}", f"Slice: {parameter}", reading, text, plot, height=320, half=True
    )


def _parallel(facts: Facts, order: list[str]) -> Figure:
    name, title = "parallel", "All parameters at once"
    lines = min(len(facts.complete), _LINES)
    which = "complete trial" if lines == len(facts.complete) else f"trial, of {lines} evenly chosen"
    reading = (
        f"A line is a {which}: follow it through its {facts.metric} and its parameters; darker is "
        "better, the thick line is the best."
    )
    why = _nothing_to_compare(facts)
    if why is None and len(facts.varied) == 1:
        why = f"Only {facts.varied[0]} had more than one value: its slice shows all there is."
    best = facts.best
    if why is not None or best is None:
        return Figure(name, title, reading, why or NONE_YET)
    from optuna.distributions import CategoricalDistribution
    from optuna.visualization import plot_parallel_coordinate

    n = len(facts.ranked)
    chosen = [facts.ranked[place * (n - 1) // (lines - 1)].number for place in range(lines)]
    everything = facts.optuna.get_trials(deepcopy=False)
    trials = [everything[number] for number in reversed(chosen)]
    names = [key for key in sorted(order) if any(key in trial.params for trial in trials)]
    few = in_memory(facts.optuna.direction, trials)
    made = plain(plot_parallel_coordinate(few, params=names, target_name=facts.metric))
    *data, bar = made["data"]
    # The first axis is the metric: worst first, so that the best lies on top.
    data.sort(key=lambda trace: trace["y"][0], reverse=facts.direction == "minimize")
    data[-1] |= {"line": {"color": BEST, "width": 3}, "opacity": 1}
    notes = [note | {"bgcolor": "rgba(255,255,255,0.75)"} for note in made["layout"]["annotations"]]
    for axis, key in enumerate(names, start=1):
        found = next(trial.distributions[key] for trial in trials if key in trial.params)
        if isinstance(found, CategoricalDistribution):
            _order_choices(axis, [escape(str(c), quote=False) for c in found.choices], data, notes)
    bar["marker"]["colorbar"] |= {
        "thickness": 12,
        "title": {"text": escape(facts.metric, quote=False)},
    }
    plot = styled(
        [*data, bar],
        "",
        "",
        annotations=notes,
        **{key: made["layout"][key] for key in ("shapes", "xaxis", "yaxis")},
    )
    said = params_listed({key: best.params[key] for key in order if key in best.params})
    text = f"the best, trial {best.number}: {facts.said(best)} with {said}"
    return Figure(name, title, reading, text, plot, height=440, width=140 * (len(order) + 1))


def _order_choices(
    axis: int, choices: list[str], data: list[dict[str, Any]], notes: list[dict[str, Any]]
) -> None:
    """Put an axis in the order of its choices: Optuna has them as they come in the trials."""
    own = [note for note in notes if note["x"] == axis]
    labels = {note["text"]: note["y"] for note in own}
    known = [choice for choice in choices if choice in labels]
    if sorted(known) != sorted(labels):  # two choices of one text, or trials without the parameter
        return
    places = dict(zip(known, sorted(labels.values()), strict=True))
    for note in own:
        note["y"] = places[note["text"]]
    for trace in data:
        trace["y"][axis] = places[trace["customdata"][axis][1]]

"""The champion on its hold-out: which columns it goes by, and where it errs."""

from html import escape
from typing import Any

from search.formatting import short
from search.report.study_data import BEST, COMPLETE, Facts, Figure, styled

_NO_CHAMPION = "The study has no champion yet."
# Share of the axis that a number takes.
_LABEL = 0.2
_NO_ROWS = "No row was held out to judge it by."


def champion(facts: Facts) -> list[Figure]:
    """Draw the importance of columns, and true values over predicted ones or over classes."""
    return [_columns(facts), _errors(facts)]


def _missing(facts: Facts) -> str:
    return _NO_CHAMPION if facts.notes.champion is None else _NO_ROWS


def _columns(facts: Facts) -> Figure:
    name, title = "columns", "Importance of columns"
    reading = (
        f"The longer a bar, the worse the champion's {facts.metric} on the held-out rows when that "
        "column is shuffled among them (median of five times)."
    )
    found = facts.notes.findings
    if found is None:
        return Figure(name, title, reading, _missing(facts))
    pairs = found.importance
    losses = [loss for _, loss in pairs]
    bar = {
        "type": "bar",
        "orientation": "h",
        "x": [loss for _, loss in reversed(pairs)],
        "y": _labels([column for column, _ in reversed(pairs)]),
        "text": [short(loss) for _, loss in reversed(pairs)],
        "textposition": "outside",
        "cliponaxis": False,
        "marker": {"color": COMPLETE},
        "hoverinfo": "skip",
    }
    # Beside a bar stands its number, on a phone as well.
    low, high = min(0.0, *losses), max(0.0, *losses)
    room = _LABEL * (high - low or 1.0)
    plot = styled(
        [bar],
        f"loss in {escape(facts.metric, quote=False)}",
        "",
        xaxis={"range": [low - room if low < 0 else 0.0, high + room]},
        yaxis={"type": "category"},
    )
    said = ", ".join(f"{column} {short(loss)}" for column, loss in pairs)
    height = 110 + 30 * len(pairs)
    return Figure(name, title, reading, f"from the most important: {said}", plot, height)


def _labels(names: list[str]) -> list[str]:
    """Escape names; of equal ones (long names are cut) each needs a place of its own."""
    labels: list[str] = []
    for name in names:
        label = escape(name, quote=False)
        while label in labels:
            label += " "
        labels.append(label)
    return labels


def _errors(facts: Facts) -> Figure:
    found = facts.notes.findings
    if found is not None and found.classes is not None and found.confusion is not None:
        return _confusion(found.classes, found.confusion)
    name, title = "errors", "Predicted and true"
    reading = (
        "A dot is a held-out row: the nearer to the line, the better the champion foresaw its "
        "value."
    )
    if found is None:
        return Figure(name, title, reading, _missing(facts))
    predicted, true = found.predicted, found.true
    if predicted is None or true is None:
        return Figure(name, title, reading, "There are too many classes to be drawn.")
    ends = [min(*predicted, *true), max(*predicted, *true)]
    dots = {
        "type": "scatter",
        "mode": "markers",
        "name": "held-out row",
        "x": predicted,
        "y": true,
        "marker": {"color": COMPLETE, "opacity": 0.6, "size": 6},
        "hovertemplate": "predicted %{x:.5g}<br>true %{y:.5g}<extra></extra>",
    }
    line = {
        "type": "scatter",
        "mode": "lines",
        "name": "as predicted",
        "x": ends,
        "y": ends,
        "line": {"color": BEST, "width": 1},
        "hoverinfo": "skip",
    }
    rows = found.rows or len(true)
    some = f"{len(true)} of " if rows > len(true) else ""
    text = f"{some}{rows} held-out rows, true values from {min(true):.4g} to {max(true):.4g}"
    scores = facts.notes.holdout or {}
    text += "".join(f", {metric} {value:.4g}" for metric, value in scores.items())
    return Figure(name, title, reading, text, styled([dots, line], "predicted", "true"))


def _confusion(classes: list[str], counts: list[list[int]]) -> Figure:
    labels = _labels(classes)
    cells: dict[str, Any] = {
        "type": "heatmap",
        "x": labels,
        "y": labels,
        "z": counts,
        "text": counts,
        "texttemplate": "%{text}",
        "colorscale": [[0, "#f8fafc"], [1, "#2563eb"]],
        "showscale": False,
        "hovertemplate": "%{y} taken for %{x}: %{z}<extra></extra>",
    }
    axis = {"type": "category"}
    plot = styled(
        [cells], "predicted class", "true class", xaxis=axis, yaxis=axis | {"autorange": "reversed"}
    )
    total, right = sum(map(sum, counts)), sum(row[k] for k, row in enumerate(counts))
    missed = [
        (counts[i][j], f"{classes[i]} taken for {classes[j]} {counts[i][j]} times")
        for i in range(len(classes))
        for j in range(len(classes))
        if i != j and counts[i][j]
    ]
    text = f"{right} of {total} held-out rows are in their true class"
    if missed:
        text += f"; most often {max(missed, key=lambda pair: pair[0])[1]}"
    reading = (
        "A row is a true class, a column what the champion took its held-out rows for; what is "
        "right lies on the diagonal."
    )
    height = 180 + 34 * len(classes)
    return Figure("errors", "Confusion of classes", reading, text, plot, height)

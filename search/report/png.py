"""The report's figures as PNG: what a browser draws by plotly.js is drawn here by matplotlib."""

import re
from html import unescape
from io import BytesIO
from typing import TYPE_CHECKING, Any

from search.formatting import drawn
from search.report.study_data import COMPLETE, Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INCHES, _DPI = (8.0, 4.5), 100
_KINDS = {"scatter", "bar"}


def draw(figure: Figure) -> bytes | None:
    """Draw a figure of lines, dots or bars as PNG; ``None`` for what has none of these."""
    plot = figure.plot
    if plot is None or not {trace.get("type", "scatter") for trace in plot["data"]} <= _KINDS:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=_INCHES, dpi=_DPI)
    FigureCanvasAgg(canvas)
    axes = canvas.subplots()
    for trace in plot["data"]:
        _add(axes, trace)
    layout = plot["layout"]
    for shape in layout.get("shapes", ()):
        axes.plot([shape["x0"], shape["x1"]], [shape["y0"], shape["y1"]], color="0.7", linewidth=1)
    for note in layout.get("annotations", ()):
        axes.text(note["x"], note["y"], _text(note["text"]), fontsize=8)
    _scale(axes, layout)
    if any("name" in trace for trace in plot["data"]) and layout["showlegend"]:
        axes.legend(fontsize=8)
    axes.set_title(figure.title)
    file = BytesIO()
    canvas.savefig(file, bbox_inches="tight")
    return file.getvalue()


def _add(axes: "Axes", trace: dict[str, Any]) -> None:
    if trace.get("type") == "bar":
        axes.barh([_text(label) for label in trace["y"]], trace["x"], color=_color(trace))
        return
    x, y = _plain(trace["x"]), _plain(trace["y"])
    mode, label = trace.get("mode", "lines"), _text(trace.get("name", "")) or None
    look = {"color": _color(trace), "alpha": trace.get("opacity", 1.0), "label": label}
    if "lines" in mode:
        line = trace.get("line", {})
        style = "steps-post" if line.get("shape") == "hv" else "default"
        axes.plot(x, y, linewidth=line.get("width", 2), drawstyle=style, **look)
    else:
        axes.scatter(x, y, s=18, **look)


def _text(escaped: str) -> str:
    """Return a page's text as matplotlib takes it."""
    return drawn(unescape(escaped))


def _plain(values: Any) -> list[Any]:
    """Return values as matplotlib takes them, a gap as not a number; names are unescaped."""
    values = list(values)
    if any(isinstance(value, str) for value in values):
        return [_text(str(value)) for value in values]
    return [float("nan") if value is None else value for value in values]


def _color(trace: dict[str, Any]) -> Any:
    """Return a trace's color; where each dot has its own, they are left out."""
    for part in ("line", "marker"):
        color = trace.get(part, {}).get("color")
        if isinstance(color, str):
            parts = re.fullmatch(r"rgb\((.+), *(.+), *(.+)\)", color)
            return [float(part) / 255 for part in parts.groups()] if parts else color
    return COMPLETE


def _scale(axes: "Axes", layout: dict[str, Any]) -> None:
    for axis, name in ((axes.xaxis, "xaxis"), (axes.yaxis, "yaxis")):
        about = layout[name]
        axis.set_label_text(_text(about["title"]["text"] or ""))
        if about.get("type") == "log":
            axes.set(**{f"{name[0]}scale": "log"})
        if "tickvals" in about:
            axis.set_ticks(about["tickvals"], labels=[_text(t) for t in about["ticktext"]])
            axis.set_ticks([], minor=True)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)

"""Matplotlib figures without pyplot and without a display: style, safe labels, SVG and PNG.

The report and the champion's artifacts in MLflow share the figures of a champion, which are drawn
here from plain arrays and names.
"""

import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike

from search.formatting import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEST, COMPLETE, RUNNING, PRUNED = "#c2410c", "#2563eb", "#0d9488", "#b8c0cc"
LIGHT, DARK = "#dbeafe", "#1e3a8a"
_INK, _GRID = "#1f2937", "#e5e7eb"
# Inches. At this width an 11-point label is readable on a phone and not too large on a screen.
WIDTH, HEIGHT = 5.6, 3.3
# Inches for each row of a bar chart, and the maximum: a PNG is limited to 65,536 pixels a side.
_ROW_HEIGHT, _MAX_INCHES = 0.27, 60.0
_LABEL_LENGTH = 30
# Figures with more points embed them as one image: one SVG element per point takes megabytes.
_MAX_VECTOR_POINTS = 1000
_RASTER_DPI, _PNG_DPI = 110, 170
_MANY_CLASSES = 10
_POINTS = 72
# Inches above a PNG's figure for its title.
_TITLE_HEIGHT = 0.35
# Pixels around a figure.
_PAD = 5
_GROUP_ID = re.compile(r'<g id="[^"]*">')

# `rc_context` replaces all of matplotlib's parameters and restores them at its end, so two threads
# must not be in it at once.
_lock = threading.RLock()


@contextmanager
def style() -> Iterator[None]:
    """Use the project's style instead of the user's matplotlibrc; restore the user's at the end.

    Everything that creates, lays out or saves a figure must run inside.
    """
    import matplotlib

    with _lock, matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "axes.axisbelow": True,
                "axes.edgecolor": _GRID,
                "axes.grid": True,
                "axes.labelcolor": _INK,
                "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
                "font.size": 10,
                "figure.subplot.left": 0.15,
                "figure.subplot.right": 0.98,
                "figure.subplot.top": 0.98,
                "grid.color": _GRID,
                "legend.fontsize": 9,
                "legend.frameon": False,
                "svg.fonttype": "none",  # text stays text, in fonts that the reader has
                "svg.hashsalt": "grovekeeper",  # the same figure has the same bytes
                "text.color": _INK,
                "text.parse_math": False,  # names may contain dollar signs
                "xtick.color": _INK,
                "ytick.color": _INK,
            }
        )
        # Only PNGs lack the glyph; an SVG is shown in the reader's fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def new_axes(width: float = WIDTH, height: float = HEIGHT) -> "Axes":
    """Return the only axes of a new figure; width and height are in inches."""
    from matplotlib.figure import Figure

    size = (min(width, _MAX_INCHES), min(height, _MAX_INCHES))
    axes: Axes = Figure(figsize=size).subplots()
    return axes


def rows_height(n: int) -> float:
    """Return the height in inches of a figure with a row for each of `n` names."""
    return max(1.5, 0.9 + _ROW_HEIGHT * n)


def label(text: object, length: int = _LABEL_LENGTH) -> str:
    """Return a name as one line without control characters, cut to `length` characters."""
    line = " ".join(visible(str(text)).split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def add_legend(axes: "Axes") -> None:
    """Show the legend in a line above the axes."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, columnspacing=1.2)


def is_dense(points: int) -> bool:
    """Whether this number of points should be rasterized."""
    return points > _MAX_VECTOR_POINTS


def log_ticks(low: float, high: float) -> list[float]:
    """Return ticks for a logarithmic axis: 1, 2, 5, 10, ... or, over many decades, powers of 10."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    factors = (1, 2, 5) if len(powers) <= 4 else (1,)  # noqa: PLR2004
    ticks = [factor * 10.0**power for power in powers for factor in factors]
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside if len(inside) > 1 else [low, high]


def set_ticks(axis: Any, ticks: Sequence[float], labels: Sequence[str] | None = None) -> None:
    """Put these ticks, and no minor ones, on an axis; by default they are labelled as numbers."""
    axis.set_ticks(ticks, labels=labels or [f"{tick:.4g}" for tick in ticks])
    axis.set_ticks([], minor=True)


def draw_importance(
    axes: "Axes", names: Sequence[str], values: ArrayLike, spread: ArrayLike | None = None
) -> None:
    """Draw a bar for each name, the first on top.

    Parameters
    ----------
    values : array-like of shape (n_names,)
    spread : array-like of shape (2, n_names), optional
        The least and the greatest value of each name, drawn as a line over its bar.
    """
    rows, numbers = np.arange(len(names)), np.asarray(values, dtype=float)
    bars = axes.barh(rows, numbers, height=0.7, color=COMPLETE)
    if spread is None:
        axes.bar_label(bars, [f"{value:.3g}" for value in numbers], padding=3, fontsize=9)
    else:
        axes.hlines(rows, *np.asarray(spread), color=_INK, linewidth=1)
    axes.set_yticks(rows, [label(name) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.axvline(0, color=_INK, linewidth=0.8)
    axes.margins(x=0.15)
    axes.set_ylim(len(names) - 0.4, -0.6)


def draw_predictions(axes: "Axes", predicted: ArrayLike, true: ArrayLike) -> None:
    """Draw the true values of held-out rows over the predicted ones, both of shape (n_rows,)."""
    both = np.asarray([predicted, true], dtype=float)
    ends = [both.min(), both.max()]
    axes.plot(ends, ends, color=BEST, linewidth=1)
    dense = is_dense(both.shape[1])
    axes.scatter(both[0], both[1], s=16, alpha=0.6, linewidths=0, color=COMPLETE, rasterized=dense)
    axes.set(xlabel="predicted", ylabel="true")


def draw_confusion(axes: "Axes", classes: Sequence[str], counts: ArrayLike) -> None:
    """Draw a confusion matrix.

    Parameters
    ----------
    counts : array-like of shape (n_classes, n_classes)
        Rows by true class (first axis) and predicted class.
    """
    from matplotlib.colors import LinearSegmentedColormap

    cells = np.asarray(counts)
    axes.pcolormesh(cells, cmap=LinearSegmentedColormap.from_list("", ["#f8fafc", COMPLETE]))
    size = 10 if len(classes) <= _MANY_CLASSES else 7
    for (row, column), count in np.ndenumerate(cells):
        color = "white" if count > cells.max() / 2 else _INK
        where = (column + 0.5, row + 0.5)
        axes.text(*where, str(count), ha="center", va="center", color=color, fontsize=size)
    middle, labels = np.arange(len(classes)) + 0.5, [label(name, 20) for name in classes]
    together = sum(map(len, labels))
    axes.set_xticks(middle, labels, rotation=90 if together > 40 else 0)  # noqa: PLR2004
    axes.set_yticks(middle, labels)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.invert_yaxis()
    axes.set(xlabel="predicted class", ylabel="true class")


def confusion_height(n_classes: int) -> float:
    """Return the height in inches of a confusion matrix."""
    return 1.8 + 0.3 * n_classes


def to_svg(axes: "Axes") -> str:
    """Render a figure as an ``<svg>`` element for an HTML page, which gives it its size.

    The style property ``--width`` is the width at which labels have their nominal size.
    """
    figure, file = _figure_of(axes), BytesIO()
    # The date is left out so that the same figure has the same bytes.
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(file, format="svg", dpi=_RASTER_DPI, metadata=metadata)
    document = file.getvalue().decode()
    # HTML needs neither the prolog nor the namespaces, and the groups' ids would not be unique in a
    # page of several figures. Text cannot contain the pattern: its "<" is escaped.
    content = document[document.index("<svg") :].partition(">")[2]
    width, height = figure.get_size_inches() * _POINTS
    start = f'<svg viewBox="0 0 {width:g} {height:g}" style="--width: {width:g}px">'
    return start + _GROUP_ID.sub("<g>", content).rstrip()


def _figure_of(axes: "Axes") -> "Figure":
    return cast("Figure", axes.get_figure(root=True))


def fit(axes: "Axes") -> None:
    """Let the axes with their labels fill the figure. Call it once, before the figure is rendered.

    Matplotlib's layout engines lay a figure out and draw it twice, which takes twice the time.
    """
    figure = _figure_of(axes)
    outer, inner = axes.get_tightbbox(), axes.get_window_extent()
    if outer is not None:
        left, bottom = inner.x0 - outer.x0 + _PAD, inner.y0 - outer.y0 + _PAD
        right, top = outer.x1 - inner.x1 + _PAD, outer.y1 - inner.y1 + _PAD
        width, height = figure.bbox.width, figure.bbox.height
        across, up = max(width - left - right, width / 4), max(height - bottom - top, height / 4)
        axes.set_position((left / width, bottom / height, across / width, up / height))


def to_png(axes: "Axes", title: str) -> bytes:
    """Render a figure as a PNG image, in which the title has a line of its own on top."""
    figure, file = _figure_of(axes), BytesIO()
    width, height = figure.get_size_inches()
    left, bottom, across, up = axes.get_position().bounds
    share = height / (height + _TITLE_HEIGHT)
    with style():
        figure.set_size_inches(width, height + _TITLE_HEIGHT)
        axes.set_position((left, bottom * share, across, up * share))
        text = figure.text(0.5, 1 - (1 - share) / 2, title, ha="center", va="center", fontsize=12)
        figure.savefig(file, format="png", dpi=_PNG_DPI)
        text.remove()
        figure.set_size_inches(width, height)
        axes.set_position((left, bottom, across, up))
    return file.getvalue()

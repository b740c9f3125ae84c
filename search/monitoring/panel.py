"""The live panel: the status of a running study on a few lines of a terminal."""

import math
import time
from typing import TYPE_CHECKING

from search.formatting import params_listed, runs_behind, visible
from search.monitoring.status import SEARCHING, SearchStatus
from search.study.ranking import score_now, trees_now

if TYPE_CHECKING:
    from rich.console import RenderableType

_BLOCKS = "▁▂▃▄▅▆▇█"
_CURVE_POINTS = 40
_MOST_RUNNING = 4
_MINUTE = 60


def panel(status: SearchStatus) -> "RenderableType":
    """Draw a study's status."""
    from rich.box import ROUNDED
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column(overflow="fold")
    for name, text in _rows(status):
        rows.add_row(name, Text(visible(text)))
    grid = Table.grid(expand=True)
    grid.add_row(_bar(status))
    grid.add_row(rows)
    running = status.state == "running"
    title = f"{status.study}: {status.doing if running else status.state}"
    if running and status.began is not None:
        title += f", {clock(time.monotonic() - status.began)}"
    return Panel(grid, box=ROUNDED, title=Text(visible(title)), title_align="left")


def _bar(status: SearchStatus) -> "RenderableType":
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    done, goal, left = status.statistics.finished, status.goal, status.seconds_left()
    row = Table.grid(padding=(0, 2), expand=True)
    row.add_column(no_wrap=True)
    row.add_column(ratio=1)
    row.add_column(no_wrap=True)
    bar = ProgressBar(total=goal or max(done, 1), completed=done)
    rest = f"{clock(left)} left" if left is not None and status.state == "running" else ""
    row.add_row(f"{done}/{goal or '?'} trials", bar, rest)
    return row


def _rows(status: SearchStatus) -> list[tuple[str, str]]:
    rows = [("trials", _counts(status))]
    best, curve = status.statistics.candidate, status.curve(_CURVE_POINTS)
    if best is not None:
        text = f"{status.best()}, trial {best.number} ({params_listed(best.params)})"
        rows.append(("best", text))
    if curve:
        rows.append(("so far", f"{sparkline(curve)}  {curve[0]:.5g} to {curve[-1]:.5g}"))
    running, growing = status.running, {one.trial: one for one in status.growing}
    for place, trial in enumerate(running[:_MOST_RUNNING]):
        score = score_now(trial)
        trees, goal = trees_now(trial) or 0, growing.get(trial.number)
        text = f"trial {trial.number}: "
        text += f"{trees} trees" if goal is None else goal.progress()
        guide = f"{status.guide} " if status.guide else ""
        text += "" if score is None else f", {guide}{score:.5g}"
        rows.append(("" if place else "running", text))
    if len(running) > _MOST_RUNNING:
        rows.append(("", f"and {len(running) - _MOST_RUNNING} more"))
    pace = _pace(status)
    return [*rows, ("pace", pace)] if pace else rows


def _counts(status: SearchStatus) -> str:
    counts = status.statistics.counts
    parts = [f"{counts['complete']} complete", f"{counts['pruned']} pruned"]
    parts += [f"{counts['failed']} failed"] if counts["failed"] else []
    parts += [f"{counts['running']} running"] if counts["running"] else []
    return ", ".join(parts)


def _pace(status: SearchStatus) -> str:
    rate, workers, behind = status.trees_per_second(), status.workers, status.behind()
    parts = [] if rate is None else [f"{rate:,.0f} trees a second"]
    if workers is not None and status.state == "running" and status.doing == SEARCHING:
        parts.append("no worker: waiting for one" if workers == 0 else f"workers: {workers}")
    if behind is not None:
        parts.append(f"MLflow {runs_behind(behind)}" if behind else "MLflow up to date")
    return ", ".join(parts)


def sparkline(values: list[float]) -> str:
    """Draw values as a line of block characters, with the lowest block for the lowest value."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    span = high - low
    levels = len(_BLOCKS) - 1
    return "".join(
        _BLOCKS[round(levels * (value - low) / span) if span > 0 else 0]
        if math.isfinite(value)
        else " "
        for value in values
    )


def clock(seconds: float) -> str:
    """Format seconds as m:ss, or as h:mm:ss from an hour on."""
    whole = int(seconds)
    hours, minutes = divmod(whole // _MINUTE, _MINUTE)
    rest = f"{minutes:02}:{whole % _MINUTE:02}" if hours else f"{minutes}:{whole % _MINUTE:02}"
    return f"{hours}:{rest}" if hours else rest

"""The live panel: a study that runs, on a few lines of a terminal."""

import math
import time
from typing import TYPE_CHECKING

from search.standing import SEARCHING, Standing
from search.trial_table import score_now, trees_now
from search.wording import params_listed, runs_behind, visible

if TYPE_CHECKING:
    from rich.console import RenderableType

_BLOCKS = "▁▂▃▄▅▆▇█"
_CURVE = 40
_MOST_RUNNING = 4
_MINUTE = 60


def panel(standing: Standing) -> "RenderableType":
    """Draw how a study stands."""
    from rich.box import ROUNDED
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column(overflow="fold")
    for name, text in _rows(standing):
        rows.add_row(name, Text(visible(text)))
    grid = Table.grid(expand=True)
    grid.add_row(_bar(standing))
    grid.add_row(rows)
    running = standing.state == "running"
    title = f"{standing.study}: {standing.doing if running else standing.state}"
    if running and standing.began is not None:
        title += f", {clock(time.monotonic() - standing.began)}"
    return Panel(grid, box=ROUNDED, title=Text(visible(title)), title_align="left")


def _bar(standing: Standing) -> "RenderableType":
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    done, goal, left = standing.progress.finished, standing.goal, standing.seconds_left()
    row = Table.grid(padding=(0, 2), expand=True)
    row.add_column(no_wrap=True)
    row.add_column(ratio=1)
    row.add_column(no_wrap=True)
    bar = ProgressBar(total=goal or max(done, 1), completed=done)
    rest = f"{clock(left)} left" if left is not None and standing.state == "running" else ""
    row.add_row(f"{done}/{goal or '?'} trials", bar, rest)
    return row


def _rows(standing: Standing) -> list[tuple[str, str]]:
    rows = [("trials", _counts(standing))]
    best, curve = standing.progress.champion, standing.curve(_CURVE)
    if best is not None and best.value is not None:
        said = f"{standing.metric} {best.value:.5g}, trial {best.number}"
        rows.append(("best", f"{said} ({params_listed(best.params)})"))
        rows.append(("so far", f"{sparkline(curve)}  {curve[0]:.5g} to {curve[-1]:.5g}"))
    running = standing.running
    for place, trial in enumerate(running[:_MOST_RUNNING]):
        score = score_now(trial)
        said = f"trial {trial.number}: {trees_now(trial) or 0} trees"
        guide = f"{standing.guide} " if standing.guide else ""
        said += "" if score is None else f", {guide}{score:.5g}"
        rows.append(("" if place else "grows", said))
    if len(running) > _MOST_RUNNING:
        rows.append(("", f"and {len(running) - _MOST_RUNNING} more"))
    pace = _pace(standing)
    return [*rows, ("pace", pace)] if pace else rows


def _counts(standing: Standing) -> str:
    counts = standing.progress.counts
    parts = [f"{counts['complete']} complete", f"{counts['pruned']} pruned"]
    parts += [f"{counts['failed']} failed"] if counts["failed"] else []
    parts += [f"{counts['running']} running"] if counts["running"] else []
    return ", ".join(parts)


def _pace(standing: Standing) -> str:
    rate, workers, behind = standing.trees_per_second(), standing.workers, standing.behind()
    parts = [] if rate is None else [f"{rate:,.0f} trees a second"]
    if workers is not None and standing.state == "running" and standing.doing == SEARCHING:
        parts.append("no worker: waiting for one" if workers == 0 else f"workers: {workers}")
    if behind is not None:
        parts.append(f"MLflow {runs_behind(behind)}" if behind else "MLflow level")
    return ", ".join(parts)


def sparkline(values: list[float]) -> str:
    """Draw values as a line of blocks, the lowest block for the lowest value."""
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
    """Write seconds as minutes and seconds, with hours where there are any."""
    whole = int(seconds)
    hours, minutes = divmod(whole // _MINUTE, _MINUTE)
    rest = f"{minutes:02}:{whole % _MINUTE:02}" if hours else f"{minutes}:{whole % _MINUTE:02}"
    return f"{hours}:{rest}" if hours else rest

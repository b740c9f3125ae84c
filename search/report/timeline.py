"""Which worker grew when."""

from collections import defaultdict
from html import escape
from itertools import pairwise

from search.report.study_data import COMPLETE, Facts, Figure, styled
from storage.records import Span

# Seconds without any growing that are cut out: the time between launches.
_PAUSE = 10.0


def timeline(facts: Facts) -> Figure:
    """Draw each worker's stretches of growing; a worker of several threads has several lanes."""
    name, title = "workers", "Workers over time"
    reading = (
        "A stroke is a stretch in which a worker grew trees of one trial; pauses of more than "
        f"{_PAUSE:.0f} seconds in which nobody grew are left out."
    )
    spans = sorted(
        ((span, trial.number) for trial in facts.trials for span in trial.spans),
        key=lambda pair: (pair[0].began, pair[0].ended, pair[1]),
    )
    if not spans:
        return Figure(name, title, reading, "The trials do not say who grew them.")
    shifts = _shifts([span for span, _ in spans])
    ends: dict[str, list[float]] = defaultdict(list)
    owners = [(span.worker, _lane(ends[span.worker], span)) for span, _ in spans]
    lanes = {owner: height for height, owner in enumerate(sorted(set(owners), reverse=True))}
    x: list[float | None] = []
    y: list[int | None] = []
    texts: list[str | None] = []
    for (span, number), shift, owner in zip(spans, shifts, owners, strict=True):
        x += [round(span.began - shift, 3), round(span.ended - shift, 3), None]
        y += [lanes[owner], lanes[owner], None]
        texts += [f"{escape(span.worker, quote=False)}: trial {number}"] * 2 + [None]
    strokes = {
        "type": "scatter",
        "mode": "lines",
        "x": x,
        "y": y,
        "text": texts,
        "connectgaps": False,
        "line": {"color": COMPLETE, "width": 12},
        "opacity": 0.7,
        "hovertemplate": "%{text}, at %{x:.4g} s<extra></extra>",
    }
    seconds = max(end for end in x if end is not None)
    grown = sum(span.ended - span.began for span, _ in spans)
    ticks = {
        "tickvals": list(lanes.values()),
        "ticktext": [_name(*owner) for owner in lanes],
        "range": [-0.7, len(lanes) - 0.3],
    }
    plot = styled([strokes], "seconds", "worker", yaxis=ticks)
    busy = grown / (seconds * len(lanes)) if seconds > 0 else 1.0
    text = (
        f"workers: {len(ends)}, growing for {busy:.0%} of {seconds:.3g} seconds; "
        f"{grown:.3g} seconds of growing in all"
    )
    return Figure(name, title, reading, text, plot, height=130 + 26 * len(lanes))


def _name(worker: str, lane: int) -> str:
    return escape(worker, quote=False) + (f" ({lane + 1})" if lane else "")


def _shifts(spans: list[Span]) -> list[float]:
    """Return what to subtract from each span's times, so that they begin at 0 with no pause."""
    shifts, latest = [spans[0].began], spans[0].ended
    for _, span in pairwise(spans):
        gap = span.began - latest
        shifts.append(shifts[-1] + (gap if gap > _PAUSE else 0.0))
        latest = max(latest, span.ended)
    return shifts


def _lane(ends: list[float], span: Span) -> int:
    """Take the first of a worker's lanes that is free when the span begins, or a new one."""
    for lane, end in enumerate(ends):
        if end <= span.began + 1e-3:
            ends[lane] = span.ended
            return lane
    ends.append(span.ended)
    return len(ends) - 1

"""The times in which each worker grew trees."""

from collections import defaultdict
from itertools import pairwise

from search import plotting
from search.plotting import COMPLETE
from search.report.study_data import Figure, StudyData
from storage.records import Span

# Longer pauses, in seconds, in which no worker grows are cut out, such as those between launches.
_MAX_PAUSE = 10.0
_MAX_LABELS = 200


def timeline(data: StudyData) -> Figure:
    """Draw each worker's spans of growing; a worker with several threads has several rows."""
    name, title = "workers", "Worker timeline"
    caption = (
        "A bar is a time span in which a worker grew trees of one trial; pauses of all workers for "
        f"more than {_MAX_PAUSE:.0f} seconds are left out."
    )
    spans = sorted(
        ((span, trial.number) for trial in data.trials for span in trial.spans),
        key=lambda pair: (pair[0].began, pair[0].ended, pair[1]),
    )
    if not spans:
        return Figure(name, title, caption, "The trials have no record of their workers.")
    shifts = _shifts([span for span, _ in spans])
    ends: dict[str, list[float]] = defaultdict(list)
    owners = [(span.worker, _lane(ends[span.worker], span)) for span, _ in spans]
    lanes = {owner: row for row, owner in enumerate(sorted(set(owners)))}
    bars: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for (span, _), shift, owner in zip(spans, shifts, owners, strict=True):
        bars[lanes[owner]].append((round(span.began - shift, 3), span.ended - span.began))
    axes = plotting.new_axes(height=plotting.rows_height(len(lanes)))
    dense = plotting.is_dense(len(spans))
    for row, extents in bars.items():
        axes.broken_barh(extents, (row - 0.35, 0.7), facecolors=COMPLETE, rasterized=dense)
    every = 1 + len(lanes) // _MAX_LABELS
    rows = list(lanes.items())[::every]
    axes.set_yticks([row for _, row in rows], [_row_name(*owner) for owner, _ in rows])
    axes.set_ylim(len(lanes) - 0.3, -0.7)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set(xlabel="seconds", ylabel="worker")
    seconds = max(start + length for extents in bars.values() for start, length in extents)
    grown = sum(span.ended - span.began for span, _ in spans)
    busy = grown / (seconds * len(lanes)) if seconds > 0 else 1.0
    text = (
        f"workers: {len(ends)}, growing for {busy:.0%} of {seconds:.3g} seconds; "
        f"{grown:.3g} seconds of growing in total"
    )
    return Figure(name, title, caption, text, axes)


def _row_name(worker: str, lane: int) -> str:
    return plotting.label(worker) + (f" ({lane + 1})" if lane else "")


def _shifts(spans: list[Span]) -> list[float]:
    """Return the offset of each span that makes the times start at 0 and leaves out pauses."""
    shifts, latest = [spans[0].began], spans[0].ended
    for _, span in pairwise(spans):
        gap = span.began - latest
        shifts.append(shifts[-1] + (gap if gap > _MAX_PAUSE else 0.0))
        latest = max(latest, span.ended)
    return shifts


def _lane(ends: list[float], span: Span) -> int:
    """Return the first of a worker's lanes that is free when the span begins, or a new one."""
    for lane, end in enumerate(ends):
        if end <= span.began + 1e-3:
            ends[lane] = span.ended
            return lane
    ends.append(span.ended)
    return len(ends) - 1

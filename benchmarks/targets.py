"""The targets of the benchmark, with the measured values."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

import numpy as np
from analysis import Benchmark, geometric_mean, p_worse
from results import OURS, Result

RECIPE, FLAML = "recipe", "flaml"
MANY_ROWS = 2000
SIGNIFICANT = 0.05
_LONG, _SHORT = 0.5, 0.15  # seconds of growing per trial


@dataclass(frozen=True)
class Target:
    """A target; `met` is ``None`` if nothing was measured."""

    text: str
    measured: str
    met: bool | None


def judge(benchmark: Benchmark) -> list[Target]:
    """Return all targets."""
    return [
        *_growing(benchmark),
        *_search(benchmark),
        _tracking(benchmark),
        *_time_to_best(benchmark),
        *_held_out(benchmark),
        *_efficiency(benchmark),
        _refits(benchmark),
    ]


def best_peer(benchmark: Benchmark) -> str | None:
    """The peer with the lowest held-out loss relative to ours: geometric mean over tables."""
    ratios = {peer: held_out_ratio(benchmark, peer) for peer in benchmark.peers if peer != OURS}
    ratios = {peer: ratio for peer, ratio in ratios.items() if np.isfinite(ratio)}
    return max(ratios, key=lambda peer: ratios[peer]) if ratios else None


def held_out_ratio(benchmark: Benchmark, peer: str) -> float:
    """Ratio of our held-out loss to a peer's: geometric mean over tables and splits."""
    return _over_tables(benchmark, peer, lambda ours, theirs: ours.loss / theirs.loss)


def time_ratio(benchmark: Benchmark, peer: str, *, start_up: bool) -> float:
    """Ratio of our time to within 1% of the best to a peer's: geometric mean as above."""
    return _over_tables(
        benchmark,
        peer,
        lambda ours, theirs: (
            benchmark.penalised_seconds(ours, start_up=start_up)
            / benchmark.penalised_seconds(theirs, start_up=start_up)
        ),
    )


def curve_ratio(benchmark: Benchmark, peer: str) -> float:
    """Ratio of our time to within 1% of the best to a peer's, by the mean curves over splits."""
    tables = [table for table in benchmark.tables if benchmark.pairs(table, peer)]
    return geometric_mean(
        benchmark.seconds_by_curve(table, OURS, penalised=True)
        / benchmark.seconds_by_curve(table, peer, penalised=True)
        for table in tables
    )


def efficiency(result: Result) -> float:
    """Seconds spent growing, divided by cores and by the wall time of the search phase."""
    return _known(result.growing) / result.cores / result.phases["search"]


def growing_a_trial(result: Result) -> float:
    """Mean seconds of growing and scoring per trial."""
    return _known(result.growing) / result.tried


def _known(seconds: float | None) -> float:
    if seconds is None:
        raise ValueError("the results file lacks a figure that this project's lines have")
    return seconds


def _over_tables(
    benchmark: Benchmark,
    peer: str,
    ratio: Callable[[Result, Result], float],
    tables: Iterable[str] | None = None,
) -> float:
    pairs = [
        benchmark.pairs(table, peer) for table in (benchmark.tables if tables is None else tables)
    ]
    return geometric_mean(
        geometric_mean(ratio(ours, theirs) for ours, theirs in some) for some in pairs if some
    )


def _tables_by_rows(benchmark: Benchmark) -> tuple[list[str], list[str]]:
    """Tables with at least 2,000 rows, and the other tables."""
    rows = {result.table: result.rows for result in benchmark.results.values()}
    many = [table for table in benchmark.tables if rows[table] >= MANY_ROWS]
    return many, [table for table in benchmark.tables if table not in many]


def _at_most(text: str, ratio: float, limit: float) -> Target:
    if not np.isfinite(ratio):
        return Target(text, "not measured", None)
    return Target(text, f"1/{1 / ratio:.1f}", ratio <= limit)


def _growing(benchmark: Benchmark) -> list[Target]:
    def seconds(ours: Result, theirs: Result) -> float:
        return _known(ours.growing) / _known(theirs.growing)

    def cpu(ours: Result, theirs: Result) -> float:
        return _known(ours.growing) / theirs.search_cpu

    text = "growing and scoring: 1/15 of the recipe's {}"
    return [
        _at_most(
            text.format("seconds in fit and score"),
            _over_tables(benchmark, RECIPE, seconds),
            1 / 15,
        ),
        _at_most(
            text.format("CPU seconds, without start-up"),
            _over_tables(benchmark, RECIPE, cpu),
            1 / 15,
        ),
    ]


def _search(benchmark: Benchmark) -> list[Target]:
    many, few = _tables_by_rows(benchmark)
    text = "CPU seconds of the search phase, {}: 1/{} of the recipe's"

    def ratio(tables: list[str]) -> float:
        return _over_tables(
            benchmark, RECIPE, lambda ours, theirs: ours.search_cpu / theirs.search_cpu, tables
        )

    return [
        _at_most(text.format(f"{MANY_ROWS:,} rows or more", 10), ratio(many), 1 / 10),
        _at_most(text.format("fewer rows", 6), ratio(few), 1 / 6),
    ]


def _tracking(benchmark: Benchmark) -> Target:
    text = "Optuna, tracking and Dask in the coordinator: 25 ms of CPU per trial"
    found = [r.coordinating for r in benchmark.results.values() if r.coordinating is not None]
    if not found:
        return Target(text, "not measured", None)
    milliseconds = 1000 * found[0]
    return Target(text, f"{milliseconds:.0f} ms", milliseconds <= 25)


def _time_to_best(benchmark: Benchmark) -> list[Target]:
    targets = []
    for peer, share in ((RECIPE, 20), (FLAML, 5)):
        for start_up, since in ((True, "start of the process"), (False, "start of the search")):
            text = f"time to within 1% of the best, from the {since}: 1/{share} of {peer}'s"
            ratio = time_ratio(benchmark, peer, start_up=start_up)
            targets.append(_at_most(text, ratio, 1 / share))
    return targets


def _held_out(benchmark: Benchmark) -> list[Target]:
    peer = best_peer(benchmark)
    if peer is None:
        return [Target("held-out loss against the best single peer", "not measured", None)]
    ratio = held_out_ratio(benchmark, peer)
    losses = {
        (table, other): [(o.loss, t.loss) for o, t in benchmark.pairs(table, other)]
        for table in benchmark.tables
        for other in benchmark.peers
        if other != OURS
    }
    worse = [key for key, pairs in losses.items() if p_worse(pairs) < SIGNIFICANT]
    names = ", ".join(f"{table} (than {other})" for table, other in worse) or "none"
    return [
        Target(f"held-out loss within 0.5% of {peer}'s", f"{ratio - 1:+.1%}", ratio <= 1.005),
        Target("significantly worse on no table", names, not worse),
    ]


def _efficiency(benchmark: Benchmark) -> list[Target]:
    targets = []
    bounds = ((_LONG, float("inf"), 0.90), (_SHORT, _LONG, 0.75))
    for low, high, wanted in bounds:
        text = f"efficiency where a trial grows for {1000 * low:.0f} ms or longer: {wanted:.2f}"
        found = {}
        for table in benchmark.tables:
            runs = benchmark.of(table, OURS)
            if runs and low <= median(map(growing_a_trial, runs)) < high:
                found[table] = median(map(efficiency, runs))
        if not found:
            targets.append(Target(text, "no such table", None))
            continue
        measured = ", ".join(f"{table} {value:.2f}" for table, value in found.items())
        targets.append(Target(text, measured, min(found.values()) >= wanted))
    return targets


def _refits(benchmark: Benchmark) -> Target:
    text = f"{MANY_ROWS:,} rows or more: the search phase costs 8 refits of 500 trees"
    found = {
        table: median(run.search_cpu / _known(run.refit_cpu) for run in benchmark.of(table, OURS))
        for table in _tables_by_rows(benchmark)[0]
        if benchmark.of(table, OURS)
    }
    if not found:
        return Target(text, "no such table", None)
    measured = ", ".join(f"{table} {value:.1f}" for table, value in found.items())
    return Target(text, measured, max(found.values()) <= 8)

"""Print the results of the benchmark as Markdown for docs/benchmarks.md, and draw the figure.

python benchmarks/report.py
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from analysis import PENALTY, Benchmark, geometric_mean, p_worse
from picture import draw
from results import OURS, Result, read_results
from targets import (
    best_peer,
    curve_ratio,
    efficiency,
    growing_a_trial,
    held_out_ratio,
    judge,
    time_ratio,
)

HERE = Path(__file__).parent
_MET = {True: "yes", False: "no", None: ""}


def main() -> None:
    """Print all tables and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=HERE / "results.jsonl", metavar="FILE")
    parser.add_argument(
        "--picture",
        type=Path,
        default=HERE.parent / "docs" / "images" / "benchmark.png",
        metavar="FILE",
    )
    arguments = parser.parse_args()
    results = read_results(arguments.results)
    if not any(result.peer == OURS for result in results.values()):
        raise SystemExit(f"{arguments.results} has no results of {OURS}: run compare.py first")
    benchmark = Benchmark(results)
    print("\n\n".join(_sections(benchmark)))
    draw(benchmark, arguments.picture)


def _sections(benchmark: Benchmark) -> Iterable[str]:
    yield _conditions(benchmark)
    yield "### Targets\n\n" + _markdown(
        ["target", "measured", "met"],
        [[t.text, t.measured, _MET[t.met]] for t in judge(benchmark)],
    )
    yield "### Against each peer\n\n" + _summary(benchmark)
    yield "### Grovekeeper on each table (medians)\n\n" + _costs(benchmark)
    for table in benchmark.tables:
        yield f"### {table}\n\n" + _table(benchmark, table)


def _conditions(benchmark: Benchmark) -> str:
    results = list(benchmark.results.values())
    dates = sorted(result.date[:10] for result in results)
    versions = {f"{name} {v}" for result in results for name, v in result.versions.items()}
    one = results[0]
    return (
        f"Measured from {dates[0]} to {dates[-1]} with {one.trials} trials on {one.cores} cores; "
        f"{', '.join(sorted(versions))}. "
        "Each search, called a peer below, is run as a whole command with cold caches. Held-out "
        "losses are for the final configuration with 500 trees (rmse or Brier score, mean of three "
        "refits). The time to 1% is the time until the held-out loss was first within 1% of the "
        "best loss that any peer reached on that split, from the start of the process and, after "
        "the slash, from the start of the search; it uses only splits that all peers ran on. The "
        "mean curve of a peer is the geometric mean over splits of the ratio of its loss to that "
        'best loss, against seconds. "By the mean curve" is the time until this curve was first '
        "within 1% of the lowest point of all peers' curves; it is less noisy with few test rows. "
        "In geometric means, a peer that never came within 1% is counted with "
        f"{PENALTY} times its seconds. p is the p-value of a one-sided paired t-test with the "
        "Nadeau-Bengio correction on the logarithms of the losses; a small p means that "
        "Grovekeeper is worse."
    )


def _summary(benchmark: Benchmark) -> str:
    """Geometric means over the tables of the ratio of ours to theirs."""
    best = best_peer(benchmark)
    rows = []
    for peer in benchmark.peers[1:]:
        pairs = [pairs for t in benchmark.tables if (pairs := benchmark.pairs(t, peer))]
        if not pairs:
            continue

        def ours_over(field: str, pairs: list[list[tuple[Result, Result]]] = pairs) -> str:
            return _share(
                geometric_mean(
                    geometric_mean(getattr(o, field) / getattr(t, field) for o, t in some)
                    for some in pairs
                )
            )

        times = [
            _share(time_ratio(benchmark, peer, start_up=True)),
            _share(time_ratio(benchmark, peer, start_up=False)),
            _share(curve_ratio(benchmark, peer)),
        ]
        name = f"**{peer}** (best)" if peer == best else peer
        held_out = f"{held_out_ratio(benchmark, peer) - 1:+.2%}"
        rows.append([name, ours_over("wall"), ours_over("cpu"), *times, held_out])
    head = ["ratio of ours to", "wall", "CPU", "time to 1%", "from start of search"]
    head += ["by the mean curve", "held-out loss"]
    return _markdown(head, rows)


def _costs(benchmark: Benchmark) -> str:
    rows = []
    for table in benchmark.tables:
        runs = benchmark.of(table, OURS)
        if not runs:
            continue
        rows.append(
            [
                f"{table} ({runs[0].rows:,} x {runs[0].columns})",
                *(f"{median(map(value, runs)):.1f}" for value in (_wall, _cpu, _start_up, _search)),
                f"{median(run.search_cpu for run in runs):.1f}",
                f"{median(run.growing or 0.0 for run in runs):.1f}",
                f"{1000 * median(map(growing_a_trial, runs)):.0f}",
                f"{median(map(efficiency, runs)):.2f}",
                f"{median(run.refit_cpu or 0.0 for run in runs):.2f}",
            ]
        )
    head = ["table", "wall s", "CPU s", "start-up s", "search s", "search CPU s", "growing s"]
    head += ["growing ms per trial", "efficiency", "refit CPU s"]
    return _markdown(head, rows)


def _table(benchmark: Benchmark, table: str) -> str:
    shared = benchmark.shared_splits(table)
    rows = []
    for peer in benchmark.peers:
        runs = benchmark.of(table, peer)
        if not runs:
            continue
        pairs = benchmark.pairs(table, peer)
        losses = [(ours.loss, theirs.loss) for ours, theirs in pairs]
        ratio = geometric_mean(theirs / ours for ours, theirs in losses)
        timed = [run for run in runs if run.split in shared]
        since_start = [benchmark.seconds_to_best(run, start_up=True) for run in timed]
        since_search = [benchmark.seconds_to_best(run, start_up=False) for run in timed]
        rows.append(
            [
                peer,
                str(len(runs)),
                f"{median(map(_wall, runs)):.1f}",
                f"{median(map(_cpu, runs)):.1f}",
                f"{median(run.loss for run in runs):.4g}",
                "" if peer == OURS else f"{ratio:.3f}",
                "" if peer == OURS or len(pairs) < 2 else f"{p_worse(losses):.2f}",
                f"{_median_time(since_start)} / {_median_time(since_search)}",
                f"{sum(np.isfinite(since_start))} of {len(timed)}",
                _time(benchmark.seconds_by_curve(table, peer)) if timed else "",
            ]
        )
    head = [
        "peer",
        "splits",
        "wall s",
        "CPU s",
        "held-out loss",
        "ratio to ours",
        "p",
        "time to 1%",
    ]
    return _markdown([*head, "reached", "by the mean curve"], rows)


def _wall(result: Result) -> float:
    return result.wall


def _cpu(result: Result) -> float:
    return result.cpu


def _start_up(result: Result) -> float:
    return result.start_up


def _search(result: Result) -> float:
    return result.search


def _median_time(seconds: Sequence[float]) -> str:
    return _time(median(seconds)) if seconds else ""


def _time(seconds: float) -> str:
    return f"{seconds:.1f}" if np.isfinite(seconds) else "never"


def _share(ratio: float) -> str:
    return f"1/{1 / ratio:.1f}" if ratio < 1 else f"{ratio:.1f}"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()

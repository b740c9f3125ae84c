"""The benchmark figure: held-out loss relative to the best against seconds, one line per peer."""

from pathlib import Path

import matplotlib as mpl
from analysis import Benchmark, mean_curve
from matplotlib.ticker import LogFormatter
from results import OURS

_SIZE = (8.0, 4.5)
_MARGIN = 1.3
_LATEST = 1e6  # seconds, beyond the right edge of the figure


def draw(benchmark: Benchmark, path: Path) -> None:
    """Draw geometric means over tables, from when a peer has a forest for each table."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=_SIZE, layout="constrained")
    ends = []
    for peer in benchmark.peers:
        curves = [
            benchmark.curve(table, peer)
            for table in benchmark.tables
            if set(benchmark.shared_splits(table))
            & {result.split for result in benchmark.of(table, peer)}
        ]
        times, ratios = mean_curve(curves)
        above = 100 * (ratios - 1)
        ends.append(above[-1])
        (line,) = axes.step(
            times, above, where="post", label=peer, linewidth=3 if peer == OURS else 1.5
        )
        # The peer has ended: continue its line to the right, thinly.
        axes.plot(times[-1], above[-1], "o", color=line.get_color())
        axes.plot([times[-1], _LATEST], [above[-1]] * 2, ":", color=line.get_color())
    axes.set_xscale("log")
    axes.set_xlim(right=max(line.get_xdata()[0] for line in axes.lines[2::3]) * _MARGIN)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    axes.set_ylim(0, _MARGIN * max(ends))
    axes.set_xlabel("seconds since the command was started")
    axes.set_ylabel("held-out loss above the best (%)")
    names = len(benchmark.tables)
    axes.set_title(f"Geometric mean over {names} tables; a dot is the last forest chosen")
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)

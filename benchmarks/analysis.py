"""Computes ratios, times to a good score, curves and a paired test from results."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from results import OURS, Result, Results, tables_of
from scipy import stats
from tables import TEST_SHARE

WITHIN = 1.01  # times the best held-out loss that any peer reached
# A peer that never came within 1% is counted with this multiple of its total time.
PENALTY = 2
_SHORTEST = 0.01  # seconds; a geometric mean cannot contain 0

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class Benchmark:
    """All results, with their tables and peers."""

    results: Results

    @property
    def tables(self) -> list[str]:
        """Names of the tables, smallest first."""
        return tables_of(self.results.values())

    @property
    def peers(self) -> list[str]:
        """Names of the peers, Grovekeeper first."""
        found = dict.fromkeys(result.peer for result in self.results.values())
        return [OURS, *(peer for peer in found if peer != OURS)]

    def of(self, table: str, peer: str) -> list[Result]:
        """Results of one peer on one table, ordered by split."""
        found = [r for r in self.results.values() if r.table == table and r.peer == peer]
        return sorted(found, key=lambda result: result.split)

    def pairs(self, table: str, peer: str) -> list[tuple[Result, Result]]:
        """Pairs of our and a peer's results on the splits of a table that both ran on."""
        theirs = self.of(table, peer)
        keys = [(table, result.split, OURS) for result in theirs]
        return [
            (self.results[key], result)
            for key, result in zip(keys, theirs, strict=True)
            if key in self.results
        ]

    def shared_splits(self, table: str) -> list[int]:
        """Splits of a table on which every peer ran that has results for the table."""
        runs = [{r.split for r in self.of(table, peer)} for peer in self.peers]
        return sorted(set.intersection(*(splits for splits in runs if splits)))

    def best(self, table: str, split: int) -> float:
        """Lowest held-out loss that any configuration of any peer reached on the split."""
        return min(
            loss
            for result in self.results.values()
            if (result.table, result.split) == (table, split)
            for _, loss in result.incumbents
        )

    def seconds_to_best(self, result: Result, *, start_up: bool) -> float:
        """Seconds until the held-out loss first came within 1% of the best; infinite if never.

        Parameters
        ----------
        start_up
            Count from the start of the process instead of the start of the search.
        """
        limit = WITHIN * self.best(result.table, result.split)
        times = [seconds for seconds, loss in result.incumbents if loss <= limit]
        since = 0.0 if start_up else result.start_up
        return max(times[0] - since, _SHORTEST) if times else float("inf")

    def penalised_seconds(self, result: Result, *, start_up: bool) -> float:
        """`seconds_to_best`, or twice the peer's total seconds if it never came within 1%."""
        seconds = self.seconds_to_best(result, start_up=start_up)
        spent = result.wall if start_up else result.wall - result.start_up
        return seconds if np.isfinite(seconds) else PENALTY * spent

    def curve(self, table: str, peer: str) -> Curve:
        """Held-out loss relative to the best, against seconds: geometric mean over shared splits.

        The curve starts once the peer has a configuration on every shared split.
        """
        splits = self.shared_splits(table)
        curves = []
        for result in self.of(table, peer):
            if result.split in splits:
                times, losses = np.array(result.incumbents).T
                curves.append((times, losses / self.best(table, result.split)))
        return mean_curve(curves)

    def seconds_by_curve(self, table: str, peer: str, *, penalised: bool = False) -> float:
        """Seconds until the curve first came within 1% of the lowest point of any peer's curve.

        This is less noisy than `seconds_to_best`: the best of many losses on few rows is luck.
        """
        peers = [other for other in self.peers if self.of(table, other)]
        limit = WITHIN * min(self.curve(table, other)[1].min() for other in peers)
        times, ratios = self.curve(table, peer)
        if (ratios <= limit).any():
            return float(times[ratios <= limit][0])
        spent = max(result.wall for result in self.of(table, peer))
        return PENALTY * spent if penalised else float("inf")


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Geometric mean of step functions, from the start of the last one."""
    start = max(times[0] for times, _ in curves)
    grid = np.unique(np.concatenate([times for times, _ in curves]))
    grid = grid[grid >= start]
    logs = [
        np.log(values[np.searchsorted(times, grid, side="right") - 1]) for times, values in curves
    ]
    return grid, np.exp(np.mean(logs, axis=0))


def geometric_mean(values: Iterable[float]) -> float:
    """Geometric mean; NaN for no values."""
    logs = np.log(list(values))
    return float(np.exp(logs.mean())) if logs.size else float("nan")


def p_worse(losses: Sequence[tuple[float, float]]) -> float:
    """One-sided p-value for the first being worse than the second, over repeated random splits.

    The paired t-test on the logarithms of the losses with the correction of Nadeau and Bengio
    (2003, "Inference for the generalization error", section 4), since the training rows of two
    splits overlap: the variance of the mean is (1/n + n_test/n_train) times that of a difference.
    """
    n = len(losses)
    if n < 2:
        return float("nan")
    differences = np.array([np.log(ours / theirs) for ours, theirs in losses])
    variance = (1 / n + TEST_SHARE / (1 - TEST_SHARE)) * differences.var(ddof=1)
    if variance == 0:
        return 0.0 if differences.mean() > 0 else 1.0
    return float(stats.t.sf(differences.mean() / np.sqrt(variance), n - 1))

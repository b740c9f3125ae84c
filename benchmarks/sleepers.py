"""A Dask cluster whose workers sleep instead of growing trees, to measure the coordinator.

    python benchmarks/sleepers.py --workers 64 --seconds 1

Prints the address of the scheduler and runs until standard input is closed. All workers are threads
of this process, each with its own TCP connection.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from distributed import LocalCluster

from search.forest.oob import OobSums
from search.forest.training_set import TrainingSet
from search.workers import base

# Trees in a block; the first rung of a trial is one block, a whole trial is four.
BLOCK = 32
# Mean number of out-of-bag votes on a row from sixteen trees.
_VOTES = 6


def main() -> None:
    """Run the cluster until standard input is closed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument(
        "--seconds", type=float, required=True, help="that a block takes on average"
    )
    arguments = parser.parse_args()

    def sleep(
        rows: TrainingSet, params: Mapping[str, Any], seed: int, place: int, chunks: Iterable[int]
    ) -> Iterator[OobSums]:
        """Replace `search.forest.growing.grow`: better leaves give better votes."""
        random = np.random.default_rng([seed, place])
        spread = rows.y.std() * (0.3 + abs(np.log(params["min_samples_leaf"] / 3.0)) / 5)
        # Vary the time of forests: equal times would make all trials end at the same moment.
        seconds = arguments.seconds * rows.chunk / BLOCK * random.uniform(0.5, 1.5)
        for _ in chunks:
            time.sleep(seconds)
            votes = np.full(len(rows.y), float(_VOTES))
            mean = rows.y + spread * random.standard_normal(len(rows.y))
            squares = votes * (mean**2 + spread**2)
            yield OobSums(votes, votes * mean, squares, rows.chunk, seconds)

    base.grow = sleep
    with LocalCluster(
        n_workers=arguments.workers,
        threads_per_worker=1,
        processes=False,
        protocol="tcp://",
        host="127.0.0.1",
        scheduler_port=0,
        dashboard_address=None,
    ) as sleepers:
        print(sleepers.scheduler_address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()

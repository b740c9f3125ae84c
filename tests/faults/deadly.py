"""Imported by workers: growing the trial of one place kills them, as too little memory would."""

import os
import signal
from collections.abc import Iterator
from typing import Any

from search import workers
from search.sums import OobSums

PLACE = 2

_grow = workers.grow


def grow(rows: Any, params: Any, seed: int, place: int, chunks: range) -> Iterator[OobSums]:
    if place == PLACE:
        os.kill(os.getpid(), signal.SIGKILL)
    return _grow(rows, params, seed, place, chunks)


workers.grow = grow  # type: ignore[assignment]

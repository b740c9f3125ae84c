"""Imported by workers: the trial at one place kills them, as the kernel does without memory."""

import os
import signal
from collections.abc import Iterator
from typing import Any

from search.forest.oob import OobSums
from search.workers import base

PLACE = 2

_grow = base.grow


def grow(rows: Any, params: Any, seed: int, place: int, chunks: range) -> Iterator[OobSums]:
    if place == PLACE:
        os.kill(os.getpid(), signal.SIGKILL)
    return _grow(rows, params, seed, place, chunks)


base.grow = grow  # type: ignore[assignment]

"""Imported by a launch: one trial kills its workers, as the kernel does without memory."""

import os
import signal
from collections.abc import Callable
from typing import Any

from search.workers.base import GrowthRequest
from search.workers.dask_workers import DaskWorkers

PLACE = 2

_submit = DaskWorkers._submit


def submit(workers: DaskWorkers, task: Callable[..., Any], *arguments: Any) -> Any:
    return _submit(workers, run_or_die, task, *arguments)


def run_or_die(task: Callable[..., Any], *arguments: Any) -> Any:
    """Run a task on a worker, which imports this module to find the function."""
    if any(isinstance(one, GrowthRequest) and one.place == PLACE for one in arguments):
        os.kill(os.getpid(), signal.SIGKILL)
    return task(*arguments)


DaskWorkers._submit = submit  # type: ignore[method-assign]

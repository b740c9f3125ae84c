"""Chooses a study's workers: local processes, this process, or a Dask cluster."""

import logging
import multiprocessing
from collections.abc import Callable

from search.environment import cores
from search.study.spec import StudySpec
from search.workers import local
from search.workers.base import Workers
from search.workers.inline import InlineWorkers
from search.workers.local import LocalWorkers

_logger = logging.getLogger(__name__)


def prepare(spec: StudySpec) -> None:
    """Start preparing local workers in the background if the study uses them."""
    if scheduler_of(spec) is None and _may_start_processes():
        local.prepare()


def _may_start_processes() -> bool:
    """Whether this process can have child processes.

    The workers of `multiprocessing.Pool` and of Celery must not have any. Those of joblib cannot,
    because their start method, which children inherit, is unknown to Python.
    """
    method = multiprocessing.get_start_method(allow_none=True)
    is_known = method is None or method in multiprocessing.get_all_start_methods()
    return is_known and not multiprocessing.current_process().daemon


def scheduler_of(spec: StudySpec) -> str | None:
    """Return the scheduler's address from the specification or Dask's configuration, or None."""
    import dask.config

    return spec.scheduler or dask.config.get("scheduler-address", None)


def workers_for(spec: StudySpec, uid: str, check: Callable[[], None]) -> Workers:
    """Return the workers that a study's specification asks for; the caller enters them.

    Parameters
    ----------
    uid
        The study's unique identifier.
    check
        Raises if this process no longer has the study's lease.
    """
    address = scheduler_of(spec)
    if address is None:
        return local_workers(spec.workers or cores())
    from search.workers.remote import RemoteWorkers

    return RemoteWorkers(address, uid, check)


def local_workers(count: int) -> Workers:
    """Return worker processes on this machine, or this process if it cannot start any."""
    if _may_start_processes():
        return LocalWorkers(count)
    _logger.info(
        "trees grow in this process, because it is a worker of a process pool, which cannot start "
        "processes"
    )
    return InlineWorkers()

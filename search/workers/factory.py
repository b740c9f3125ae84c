"""Chooses a study's workers: local processes, or a Dask cluster at a scheduler's address."""

from collections.abc import Callable

from search.environment import cores
from search.study.spec import StudySpec
from search.workers import local
from search.workers.base import Workers
from search.workers.local import LocalWorkers


def prepare(spec: StudySpec) -> None:
    """Start preparing local workers in the background if the study uses them."""
    if scheduler_of(spec) is None:
        local.prepare()


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
        return LocalWorkers(spec.workers or cores())
    from search.workers.remote import RemoteWorkers

    return RemoteWorkers(address, uid, check)

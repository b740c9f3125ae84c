"""Where a study's trees grow: on this machine, or on a cluster by its scheduler's address."""

from collections.abc import Callable

from search.environment import cores
from search.study.spec import StudySpec
from search.workers import local
from search.workers.base import Workers
from search.workers.local import LocalWorkers


def prepare(spec: StudySpec) -> None:
    """Begin what takes long, where workers are started on this machine."""
    if scheduler_of(spec) is None:
        local.prepare()


def scheduler_of(spec: StudySpec) -> str | None:
    """Return the address of the cluster to grow on: the specification's, or Dask's own setting."""
    import dask.config

    return spec.scheduler or dask.config.get("scheduler-address", None)


def workers_for(spec: StudySpec, uid: str, check: Callable[[], None]) -> Workers:
    """Return the workers that a study's specification asks for, to be entered.

    `check` raises where the study's lease is another's.
    """
    address = scheduler_of(spec)
    if address is None:
        return LocalWorkers(spec.workers or cores())
    from search.workers.remote import RemoteWorkers

    return RemoteWorkers(address, uid, check)

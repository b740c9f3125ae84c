"""`doctor`: checks everything that a launch needs. What it creates to check, it deletes."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from search.environment import cores, installed
from search.errors import SearchError
from search.formatting import size
from search.stores import Stores
from storage import database
from storage.errors import DatabaseError, NotFoundError, StorageError
from storage.redaction import cause_of, redact
from storage.registry.client import Registry
from storage.studies.study import StudyBook
from storage.tracking import artifacts
from storage.tracking import client as mlflow_client
from storage.tracking.failures import explained

_LIBRARIES = ("optuna", "mlflow", "distributed")
# Bytes below which the machine check warns.
_LITTLE_MEMORY, _LITTLE_DISK = 1e9, 1e9


@dataclass(frozen=True)
class CheckResult:
    """Result of one check.

    Attributes
    ----------
    fit
        Whether a launch could use what was checked.
    text
        What was found and, if it is not fit, what to do.
    """

    name: str
    fit: bool
    text: str


def run_checks(stores: Stores, scheduler: str | None) -> list[CheckResult]:
    """Check versions, this machine, the two stores and, if one is given, the scheduler."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("versions", _versions),
        ("machine", _machine),
        ("disk", _disk),
        ("addresses", lambda: _addresses(stores)),
        ("studies", lambda: _studies(stores.storage, scheduler)),
        ("MLflow", lambda: _mlflow(stores.tracking_uri)),
    ]
    if scheduler is not None:
        checks.append(("scheduler", lambda: _scheduler(scheduler)))
    return [_run(name, check) for name, check in checks]


def _run(name: str, check: Callable[[], str]) -> CheckResult:
    try:
        return CheckResult(name, fit=True, text=check())
    except (SearchError, StorageError) as error:
        return CheckResult(name, fit=False, text=str(error))
    except Exception as error:  # any error is a result
        return CheckResult(name, fit=False, text=f"{type(error).__name__}: {cause_of(error)}")


def _versions() -> str:
    found = installed() | {name: version(name) for name in _LIBRARIES}
    return ", ".join(f"{name} {text}" for name, text in found.items())


def _machine() -> str:
    import psutil

    free = psutil.virtual_memory().available
    little = "; this is low: close other programs" if free < _LITTLE_MEMORY else ""
    return f"{cores()} cores, {size(free)} of memory free{little}"


def _disk() -> str:
    free = shutil.disk_usage(Path.cwd()).free
    little = "; this is low: free some space" if free < _LITTLE_DISK else ""
    return f"{size(free)} free in {Path.cwd()}{little}"


def _addresses(stores: Stores) -> str:
    notes: list[str] = []
    with suppress(DatabaseError):  # reported by the check of that store
        notes += stores.check()
    return "; ".join(notes) or "studies and runs have separate databases"


def _studies(storage: str, scheduler: str | None) -> str:
    place = redact(storage)
    try:
        names = StudyBook(storage, scheduler=scheduler).names()
    except NotFoundError:
        database.check_writable(storage)
        return f"{place} does not exist yet: the first launch creates it"
    return f"{place}: {_counted(len(names), 'study', 'studies')}"


def _mlflow(tracking_uri: str) -> str:
    place = redact(tracking_uri)
    mlflow_client.check(tracking_uri)
    if mlflow_client.is_new(tracking_uri):
        artifacts.check_folder(Path(artifacts.DEFAULT_FOLDER))
        return f"{place} does not exist yet: the first launch creates it"
    with explained(tracking_uri):
        names = Registry(tracking_uri).names()
        artifacts.try_out_all(mlflow_client.connect(tracking_uri))
    return f"{place}: {_counted(len(names), 'registered model', 'registered models')}"


def _counted(n: int, one: str, several: str) -> str:
    return f"{n} {one if n == 1 else several}"


def _scheduler(address: str) -> str:
    from search.workers.remote import check_versions
    from storage.scheduler import connect

    with connect(address) as client:
        check_versions(client)
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        threads = sum(worker["nthreads"] for worker in workers)
        resources = {name for worker in workers for name in worker["resources"]}
    there = f"{_counted(len(workers), 'worker', 'workers')}, "
    there += _counted(threads, "thread", "threads")
    text = f"{address}: {there}, same versions as here"
    return text + ("; a coordinator is there for --detach" if "coordinator" in resources else "")

"""Studies that a Dask scheduler serves to its clients: `dask+sqlite:///optuna.db` or `dask`.

The database is a file on the scheduler's machine, or it is in the scheduler's memory and is lost
when the scheduler ends. Trials go through Optuna's own `DaskStorage`. Leases are stored in the same
database by functions that run on the scheduler. The fence works by the name of the storage: each
holder of a study's lease gets its own name, and the name of the former holder becomes invalid.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any, NoReturn

import dask.config
from optuna.exceptions import ExperimentalWarning
from optuna_integration import DaskStorage

from storage import database
from storage.addresses import SERVED, SERVED_FROM_MEMORY, StoreAddress
from storage.errors import DatabaseError, LeaseLostError
from storage.leases.store import Holder, LeaseRecord, SqlLeases
from storage.scheduler import connect

if TYPE_CHECKING:
    from distributed import Client, Scheduler
    from optuna.storages import BaseStorage, RDBStorage
    from optuna.trial import FrozenTrial

_EXTENSION = "grovekeeper"


class _SchedulerClient:
    """A client whose calls raise `ConnectionError` when the scheduler has ended."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    @property
    def scheduler(self) -> Any:
        """The scheduler, on which `DaskStorage` calls methods."""
        if self._client.scheduler is None:
            raise self._gone()
        return self._client.scheduler

    def sync(self, act: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Run a coroutine function as `Client.sync` does; `DaskStorage` calls this."""
        return self._ask(self._client.sync, act, *arguments, **options)

    def run_on_scheduler(self, act: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Run a function in the scheduler's process."""
        return self._ask(self._client.run_on_scheduler, act, *arguments, **options)

    def _ask(self, ask: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return ask(*arguments, **options)
        except Exception as error:
            if self._client.status == "running":
                raise
            raise self._gone() from error

    def _gone(self) -> ConnectionError:
        return ConnectionError("the Dask scheduler that serves it is gone")


class ServedDatabase:
    """A database that a Dask scheduler serves; the `Leases` of its studies.

    Parameters
    ----------
    scheduler
        Address of the scheduler; default: Dask's own setting.

    Attributes
    ----------
    storage
        Optuna's storage.

    Raises
    ------
    StorageError
        When the scheduler does not answer, or cannot open the database.
    """

    def __init__(self, url: str, scheduler: str | None, *, create: bool) -> None:
        address = scheduler or dask.config.get("scheduler-address", None)
        if address is None:
            raise DatabaseError(
                f"{StoreAddress(url)} is served by a Dask scheduler: name it with --scheduler "
                "or DASK_SCHEDULER_ADDRESS"
            )
        self._url = url
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self.storage = DaskStorage(name=_EXTENSION, client=_SchedulerClient(connect(address)))
        try:
            self._on_scheduler(_serve, create)
        except ModuleNotFoundError as error:
            raise DatabaseError(
                f"the scheduler at {address} cannot serve studies ({error}): install grovekeeper "
                "where it runs"
            ) from error
        self.storage.name = url

    def _on_scheduler(self, act: Callable[..., Any], *arguments: Any) -> Any:
        return self.storage.client.run_on_scheduler(act, self._url, *arguments)

    def read(self, study: str) -> LeaseRecord | None:
        """See `Leases`."""
        found: LeaseRecord | None = self._on_scheduler(_call, "read", study)
        return found

    def prepare(self, study: str) -> None:
        """See `Leases`."""
        self._on_scheduler(_call, "prepare", study)

    def take(self, study: str, epoch: int, holder: Holder) -> bool:
        """See `Leases`."""
        return bool(self._on_scheduler(_take, study, epoch, holder))

    def renew(self, study: str, epoch: int) -> bool:
        """See `Leases`."""
        return bool(self._on_scheduler(_call, "renew", study, epoch))

    def release(self, study: str, epoch: int) -> None:
        """See `Leases`."""
        self._on_scheduler(_call, "release", study, epoch)

    @contextmanager
    def fence(self, study: str, epoch: int, lost: Callable[[], NoReturn]) -> Iterator[None]:  # noqa: ARG002 the scheduler raises
        """See `Leases`."""
        self.storage.name = _name(self._url, study, epoch)
        try:
            yield
        finally:
            self.storage.name = self._url


def _name(url: str, study: str, epoch: int) -> str:
    return f"{url} {study} {epoch}"


# The classes and functions below run on the scheduler.


class _ZonedStorage:
    """A storage with time-zone-aware times, because clients may be in another time zone."""

    def __init__(self, storage: "BaseStorage") -> None:
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_trial(self, trial_id: int) -> "FrozenTrial":
        return _zoned(self._storage.get_trial(trial_id))

    def get_all_trials(self, **which: Any) -> "list[FrozenTrial]":
        return [_zoned(trial) for trial in self._storage.get_all_trials(**which)]


def _zoned(trial: "FrozenTrial") -> "FrozenTrial":
    zoned = copy(trial)
    for name in ("datetime_start", "datetime_complete"):
        time = getattr(trial, name)
        setattr(zoned, name, time and time.astimezone())
    return zoned


class _LostStorage:
    """Replaces the storage under the name of a coordinator that has lost the lease."""

    def __init__(self, study: str) -> None:
        self._study = study

    def __getattr__(self, name: str) -> NoReturn:
        raise LeaseLostError(
            f"study {self._study}: the lease was lost to another coordinator; this one has "
            f"stopped writing (see `grovekeeper show {self._study}`)"
        )


def _serve(url: str, create: bool, dask_scheduler: "Scheduler") -> None:
    """Open the database once and register it with Optuna's extension of the scheduler."""
    import optuna

    databases = dask_scheduler.extensions.setdefault(_EXTENSION, {})
    if url not in databases:
        rdb = _open(url, create)
        databases[url] = rdb
        dask_scheduler.extensions["optuna"].storages[url] = _ZonedStorage(
            optuna.storages.get_storage(rdb)
        )


def _open(url: str, create: bool) -> "RDBStorage":
    if url == SERVED_FROM_MEMORY:
        return database.open_in_memory()
    return database.open_optuna(url.removeprefix(SERVED), create=create)


def _call(url: str, method: str, *arguments: Any, dask_scheduler: "Scheduler") -> Any:
    leases = SqlLeases(dask_scheduler.extensions[_EXTENSION][url].engine)
    return getattr(leases, method)(*arguments)


def _take(url: str, study: str, epoch: int, holder: Holder, dask_scheduler: "Scheduler") -> bool:
    if not _call(url, "take", study, epoch, holder, dask_scheduler=dask_scheduler):
        return False
    storages = dask_scheduler.extensions["optuna"].storages
    storages[_name(url, study, epoch)] = _LostStorage(study)
    storages[_name(url, study, epoch + 1)] = storages[url]
    return True

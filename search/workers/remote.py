"""Workers of an existing Dask cluster, given by its scheduler's address."""

import logging
import queue
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import ExitStack, suppress
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self
from zipfile import ZIP_STORED, ZipFile

from distributed import Client, WorkerPlugin
from distributed.client import ClosedClientError

from search.environment import installed
from search.errors import DataError, StudyError
from search.forest.fitting import GrowElsewhere, Part, divide, grow_part
from search.forest.memory import worker_memory
from search.forest.training_set import LOCATIONS, TrainingSet, make_folder
from search.formatting import size
from search.workers.base import PendingGrowth
from search.workers.dask_workers import DaskWorkers, training_set_of
from storage.redaction import cause_of
from storage.scheduler import connect

if TYPE_CHECKING:
    from distributed import Future, Worker

_logger = logging.getLogger(__name__)

# Seconds between two looks at the workers while a champion grows.
_POLL = 2.0
# Packages whose versions must be equal everywhere: other versions may grow other trees. Python is
# included because tasks are pickled.
_CHECKED = ("python", "grovekeeper", "numpy", "scikit-learn", "scipy")


class TrainingSetPlugin(WorkerPlugin):
    """Stores the training set on each worker, and checks the versions of its packages.

    The scheduler keeps the plugin and sends it once to each worker, including those that join
    later.

    Parameters
    ----------
    owner
        Identity of the study. A plugin replaces one of the same owner, such as that of a dead
        coordinator.
    key
        Key with which tasks find the training set.
    folder
        The coordinator's folder with the training set, for workers that can read it.
    content
        The folder's files as a ZIP archive, for other workers.
    versions
        Versions of the packages where the study runs.
    """

    def __init__(
        self, owner: str, key: str, folder: str, content: bytes, versions: dict[str, str]
    ) -> None:
        self.name = f"grovekeeper-rows-{owner}"
        self.key = key
        self.folder = folder
        self.content = content
        self.versions = versions
        self._temporary: TemporaryDirectory[str] | None = None

    def setup(self, worker: "Worker") -> None:
        """Locate the training set, or write it to a folder of the worker."""
        try:
            LOCATIONS[self.key] = self._locate(worker)
        except Exception:
            # Dask accepts the worker in spite of the error; the coordinator retires it.
            LOCATIONS[self.key] = None
            worker.log_event(self.name, worker.address)
            raise

    def _locate(self, worker: "Worker") -> Path:
        different = version_differences(self.versions, installed())
        if different:
            raise RuntimeError(f"worker {worker.address} has {different}")
        if (Path(self.folder) / self.key).exists():
            return Path(self.folder)
        self._temporary = TemporaryDirectory(dir=worker.local_directory, prefix="rows-")
        with ZipFile(BytesIO(self.content)) as archive:
            archive.extractall(self._temporary.name)
        return Path(self._temporary.name)

    def teardown(self, worker: "Worker") -> None:  # noqa: ARG002 Dask's signature
        """Remove the training set: the search has ended, or the worker leaves."""
        LOCATIONS.pop(self.key, None)
        if self._temporary is not None:
            self._temporary.cleanup()


def version_differences(here: dict[str, str], there: dict[str, str]) -> str:
    """Return a list of the checked packages whose versions differ; empty if there are none."""
    return ", ".join(
        f"{name} {there.get(name, 'missing')} (here {here[name]})"
        for name in _CHECKED
        if here[name] != there.get(name)
    )


def check_versions(client: Client) -> None:
    """Raise `StudyError` if a worker has other versions of packages that must be equal."""
    try:
        client.get_versions(check=True)
    except ValueError as error:
        text = " ".join(str(error).split())
        raise StudyError(f"the cluster's versions do not match: {text}") from error
    here = installed()
    for worker, found in client.run(installed, on_error="return").items():
        if isinstance(found, OSError):  # the worker has left
            continue
        if isinstance(found, BaseException):
            raise StudyError(
                f"worker {worker} cannot run this project ({found}): install grovekeeper "
                f"{here['grovekeeper']} on every worker"
            )
        different = version_differences(here, found)
        if different:
            raise StudyError(
                f"worker {worker} has {different}: install the same versions on every worker"
            )


class RemoteWorkers(DaskWorkers):
    """All threads of a cluster's workers, which may join and leave at any time.

    Parameters
    ----------
    address
        The scheduler's address, such as ``tcp://host:8786`` or ``tls://host:8786``.
    owner
        Identity of the study, unique on the cluster.
    check
        Raises if this process no longer has the study's lease. The training set on the workers is
        then that of another coordinator and is not removed.
    """

    def __init__(self, address: str, owner: str, check: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._address = address
        self._owner = owner
        self._check = check
        self._threads = 0
        self._scheduler_id = ""
        self._plugin: TrainingSetPlugin | None = None
        # Addresses of workers that joined later and could not store the training set.
        self._incomplete: set[str] = set()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._folder = Path(stack.enter_context(make_folder()))
            self._client = stack.enter_context(connect(self._address))
            self._scheduler_id = self._client.scheduler_info()["id"]
            check_versions(self._client)
            stack.callback(self._unload)
            self._exit_stack = stack.pop_all()
        self.present()
        return self

    def load(self, training_set: TrainingSet) -> None:
        """Send the training set to every worker, including those that join later.

        Raises
        ------
        DataError
            If it does not fit into a worker's memory.
        StudyError
            If the workers cannot store it.
        """
        self._check_memory(training_set)
        self._unload()
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        self._training_set_key = uuid.uuid4().hex
        training_set.save(folder)
        for encoding in training_set.encodings:
            training_set.save_encoding(folder, encoding)
        (folder / self._training_set_key).touch()
        content = BytesIO()
        with ZipFile(content, "w", ZIP_STORED) as archive:
            for path in folder.iterdir():
                archive.write(path, path.name)
        self._plugin = TrainingSetPlugin(
            self._owner, self._training_set_key, str(folder), content.getvalue(), installed()
        )
        self._client.subscribe_topic(
            self._plugin.name, lambda event: self._incomplete.add(event[1])
        )
        try:
            self._client.register_plugin(self._plugin)
        except Exception as error:
            raise StudyError(
                f"the training set cannot be sent to the workers: {cause_of(error)}"
            ) from error

    def _check_memory(self, training_set: TrainingSet) -> None:
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        for name, worker in workers.items():
            needed = worker_memory(training_set, worker["nthreads"])
            limit = worker["memory_limit"]
            if limit and needed > limit:
                raise DataError(
                    f"{len(training_set.y)} rows need {size(needed)} in worker {name}, which has "
                    f"{size(limit)}: give workers more memory or fewer threads, or remove rows"
                )

    def _unload(self) -> None:
        """Remove the training set from the workers, unless the cluster is gone."""
        if self._plugin is not None and self._client.status == "running":
            with suppress(Exception):
                self._check()
                self._client.unregister_worker_plugin(self._plugin.name)
        self._plugin = None

    @property
    def forest_grower(self) -> GrowElsewhere:
        """See `Workers`."""
        return self._grow_forest

    def _grow_forest(self, params: Mapping[str, Any], seed: int, trees: int) -> Iterator[Part]:
        """Grow the forest of `make_forest` on all training rows; yield parts as they are finished.

        Raises
        ------
        StudyError
            If the scheduler is gone, or workers die one after another.
        """
        from distributed import KilledWorker

        finished: queue.SimpleQueue[Future[Part]] = queue.SimpleQueue()
        parts = divide(trees, self.count())
        growing = {
            self._submit(_grow_trees, self._training_set_key, params, seed, n) for n in parts
        }
        for part in growing:
            part.add_done_callback(finished.put)
        warned = False
        try:
            while growing:
                try:
                    done = finished.get(timeout=_POLL)
                except queue.Empty:
                    if not self.present() and not warned:
                        _logger.warning("no worker is left: waiting for one")
                        warned = True
                    continue
                yield done.result()
                growing.remove(done)  # its trees need not stay on the worker
        except KilledWorker as error:
            raise StudyError(
                "the champion's trees killed workers one after another: give them more memory"
            ) from error
        except CancelledError as error:
            raise self._scheduler_lost() from error

    def count(self) -> int:
        """Return the number of threads found by the last call of `present`; at least 1."""
        return max(1, self._threads)

    def present(self) -> int:
        """See `Workers`; also retires workers that could not store the training set."""
        try:
            scheduler = self._client.scheduler_info(n_workers=-1)
        except Exception as error:
            raise self._scheduler_lost() from error
        # A restarted scheduler has neither the training set nor the pending tasks.
        if scheduler.get("id") != self._scheduler_id:
            raise self._scheduler_lost()
        workers = scheduler["workers"]
        incomplete = [name for name in workers if name in self._incomplete]
        if incomplete:  # their logs have the reason; they may join again once repaired
            try:
                self._incomplete.difference_update(self._client.retire_workers(workers=incomplete))
            except Exception as error:
                raise self._scheduler_lost() from error
        self._threads = sum(w["nthreads"] for name, w in workers.items() if name not in incomplete)
        return self._threads

    def cancel(self, growth: PendingGrowth) -> None:
        """See `Workers`."""
        with suppress(ClosedClientError):
            growth.cancel()

    def _submit(self, task: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        try:
            return super()._submit(task, *arguments)
        except ClosedClientError as error:
            raise self._scheduler_lost() from error

    def _scheduler_lost(self) -> StudyError:
        return StudyError(
            f"the Dask scheduler at {self._address} is gone or was restarted: finished trials are "
            "kept; run the same launch again when it is back"
        )


def _grow_trees(key: str, params: Mapping[str, Any], seed: int, numbers: range) -> Part:
    """Grow some trees of a forest; runs on a worker."""
    return grow_part(training_set_of(key), params, seed, numbers)

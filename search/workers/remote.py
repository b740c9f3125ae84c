"""Workers of a Dask cluster that is there already, found by its scheduler's address."""

import tempfile
import uuid
from collections.abc import Callable
from contextlib import ExitStack, suppress
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Self
from zipfile import ZIP_STORED, ZipFile

from distributed import Client, WorkerPlugin

from search.environment import installed
from search.errors import DataError, StudyError
from search.forest.memory import worker_memory
from search.forest.training_set import LOCATIONS, TrainingSet, make_folder
from search.formatting import size
from search.workers.dask_workers import DaskWorkers
from storage.scheduler import connect

if TYPE_CHECKING:
    from distributed import Worker

# What grows the same trees only in equal versions. Python's pickles, too, are of one version.
_SAME = ("python", "grovekeeper", "numpy", "scikit-learn", "scipy")


class TrainingSetPlugin(WorkerPlugin):
    """Gives a worker the rows when it joins, and checks that it grows the same trees.

    The scheduler keeps it and sends it to each worker once, also to those that join later.

    Parameters
    ----------
    owner
        Whose rows they are: new ones take the place of those that a dead coordinator left.
    key
        Under which tasks ask for the rows.
    folder
        Where the coordinator has them: read there by workers that can.
    content
        The folder's files, as an archive, for those that cannot.
    versions
        Of what grows trees, where the study runs.
    """

    def __init__(
        self, owner: str, key: str, folder: str, content: bytes, versions: dict[str, str]
    ) -> None:
        self.name = f"grovekeeper-rows-{owner}"
        self.key = key
        self.folder = folder
        self.content = content
        self.versions = versions
        self._own: TemporaryDirectory[str] | None = None

    def setup(self, worker: "Worker") -> None:
        """Find the rows, or write them into a folder of the worker's."""
        try:
            LOCATIONS[self.key] = self._place(worker)
        except Exception:
            # Dask lets the worker in all the same.
            LOCATIONS[self.key] = None
            worker.log_event(self.name, worker.address)
            raise

    def _place(self, worker: "Worker") -> Path:
        other = differing(self.versions, installed())
        if other:
            raise RuntimeError(f"worker {worker.address} has {other}")
        if (Path(self.folder) / self.key).exists():
            return Path(self.folder)
        self._own = TemporaryDirectory(dir=worker.local_directory, prefix="rows-")
        with ZipFile(BytesIO(self.content)) as archive:
            archive.extractall(self._own.name)
        return Path(self._own.name)

    def teardown(self, worker: "Worker") -> None:  # noqa: ARG002 Dask's signature
        """Drop the rows: the study's search is over, or the worker leaves."""
        LOCATIONS.pop(self.key, None)
        if self._own is not None:
            self._own.cleanup()


def differing(here: dict[str, str], there: dict[str, str]) -> str:
    """Say which versions are others than here; nothing where all that matter are the same."""
    return ", ".join(
        f"{name} {there.get(name, 'missing')} (here {here[name]})"
        for name in _SAME
        if here[name] != there.get(name)
    )


def check_versions(client: Client) -> None:
    """Raise `StudyError` where a worker would not grow the same trees, or not understand us."""
    try:
        client.get_versions(check=True)
    except ValueError as error:
        text = " ".join(str(error).split())
        raise StudyError(f"the cluster's versions do not fit: {text}") from error
    here = installed()
    for worker, found in client.run(installed, on_error="return").items():
        if isinstance(found, OSError):  # it has left meanwhile
            continue
        if isinstance(found, BaseException):
            raise StudyError(
                f"worker {worker} cannot run this project ({found}): install grovekeeper "
                f"{here['grovekeeper']} on every worker"
            )
        other = differing(here, found)
        if other:
            raise StudyError(
                f"worker {worker} has {other}: install the same versions on every worker"
            )


class RemoteWorkers(DaskWorkers):
    """All threads of a cluster's workers, as they come and go.

    Parameters
    ----------
    address
        The scheduler's, as Dask takes it: ``tcp://host:8786``, ``tls://host:8786``.
    owner
        Name of what is searched, as no other search on the cluster has it: a study's identity.
    check
        Raises where somebody else searches it by now, whose rows have taken the place of these.
    """

    def __init__(self, address: str, owner: str, check: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._address = address
        self._owner = owner
        self._check = check
        self._threads = 0
        self._scheduler_id = ""
        self._plugin: TrainingSetPlugin | None = None
        # Addresses of workers that came later and could not take the rows.
        self._without: set[str] = set()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._folder = Path(stack.enter_context(make_folder()))
            self._client = stack.enter_context(connect(self._address))
            self._scheduler_id = self._client.scheduler_info()["id"]
            check_versions(self._client)
            stack.callback(self._forget)
            self._open = stack.pop_all()
        self.present()
        return self

    def load(self, rows: TrainingSet) -> None:
        """Send the training rows to every worker, now or when it joins.

        Raises
        ------
        DataError
            When they do not fit into a worker's memory.
        """
        self._check_memory(rows)
        self._forget()
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        self._rows = uuid.uuid4().hex
        rows.save(folder)
        (folder / self._rows).touch()
        content = BytesIO()
        with ZipFile(content, "w", ZIP_STORED) as archive:
            for path in folder.iterdir():
                archive.write(path, path.name)
        self._plugin = TrainingSetPlugin(
            self._owner, self._rows, str(folder), content.getvalue(), installed()
        )
        self._client.subscribe_topic(self._plugin.name, lambda event: self._without.add(event[1]))
        try:
            self._client.register_plugin(self._plugin)
        except Exception as error:
            raise StudyError(f"the rows cannot be given to the workers: {error}") from error

    def _check_memory(self, rows: TrainingSet) -> None:
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        for name, about in workers.items():
            needed, limit = worker_memory(rows, about["nthreads"]), about["memory_limit"]
            if limit and needed > limit:
                raise DataError(
                    f"{len(rows.y)} rows take {size(needed)} in worker {name}, which has "
                    f"{size(limit)}: give workers more memory or fewer threads, or leave rows out"
                )

    def _forget(self) -> None:
        """Have the workers drop the rows; where the cluster is gone, so are they."""
        if self._plugin is not None and self._client.status == "running":
            with suppress(Exception):
                self._check()
                self._client.unregister_worker_plugin(self._plugin.name)
        self._plugin = None

    def count(self) -> int:
        """Threads that were there at the last look."""
        return max(1, self._threads)

    def present(self) -> int:
        """Look how many threads there are."""
        try:
            about = self._client.scheduler_info(n_workers=-1)
        except Exception as error:
            raise self._gone() from error
        # One that was restarted knows nothing of the rows, nor of what was being grown.
        if about.get("id") != self._scheduler_id:
            raise self._gone()
        workers = about["workers"]
        without = [name for name in workers if name in self._without]
        if without:  # its own log says why; repaired, it may come back
            try:
                self._without.difference_update(self._client.retire_workers(workers=without))
            except Exception as error:
                raise self._gone() from error
        self._threads = sum(w["nthreads"] for name, w in workers.items() if name not in without)
        return self._threads

    def _gone(self) -> StudyError:
        return StudyError(
            f"the Dask scheduler at {self._address} is gone, or was restarted: what is finished is "
            "kept, and the same launch goes on when it is back"
        )

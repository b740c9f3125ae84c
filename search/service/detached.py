"""A launch whose coordinator runs on the cluster too, on a worker with the resource `coordinator`.

That worker alone has the addresses of the databases, in its environment; nothing of them is sent.
Where it dies, Dask gives the task to another one, which goes on from what the database has.
"""

import logging
import math
import os
import queue
import time
import uuid
from collections.abc import Mapping
from typing import Any, Literal

from distributed import (
    CancelledError,
    Client,
    KilledWorker,
    fire_and_forget,
    get_client,
    get_worker,
    secede,
)

from search.data.sources import is_here
from search.data.table import read_table
from search.errors import StudyError, UsageError
from search.monitoring.messages import messages_to
from search.monitoring.observer import Unstopped
from search.monitoring.status import SearchStatus
from search.service.launch import launch
from search.stores import Stores
from search.study.problem import pose
from search.study.spec import StudySpec
from search.workers.factory import scheduler_of
from search.workers.remote import check_versions
from storage.errors import StudyBusyError
from storage.leases.lease import RENEW_EVERY
from storage.leases.store import DURATION
from storage.scheduler import connect

_logger = logging.getLogger(__name__)

RESOURCE = "coordinator"
_STORAGE, _TRACKING_URI = "OPTUNA_STORAGE", "MLFLOW_TRACKING_URI"
_POLL = 1.0
_SOON = 5.0
# What is sent goes through the scheduler's memory.
_MOST_BYTES = 500e6

Message = tuple[Literal["begun", "log", "shown", "ended"], Any]


def detach(spec: StudySpec) -> dict[str, Any]:
    """Have a study launched on its cluster; return when its run stands in MLflow.

    The table is read here and sent along, where it is here; otherwise the coordinator reads it.

    Returns
    -------
    the study's summary, as `grovekeeper show --json` prints it

    Raises
    ------
    SearchError, StorageError
        With one line that says what was wrong and what to do, here or where the coordinator runs.
    """
    address = scheduler_of(spec)
    if address is None:
        raise UsageError("--detach runs the study on a cluster: name its --scheduler")
    spec = _with_table(spec)
    with connect(address) as client:
        check_versions(client)
        _check_coordinator(client, address)
        return _Submission(client, spec).wait()


def _with_table(spec: StudySpec) -> StudySpec:
    """Read the table and find what is wrong with the specification before anything is sent."""
    table = spec.table
    if table is None:
        if not is_here(spec.address):
            return spec
        table = read_table(spec.address, spec.query, spec.bounds)
        spec = spec.holding(table)
    pose(spec)
    n_bytes = int(table.memory_usage(deep=True).sum())
    if n_bytes > _MOST_BYTES:
        raise StudyError(
            f"{spec.data} takes {n_bytes / 1e6:.0f} MB, more than the {_MOST_BYTES / 1e6:.0f} that "
            "are sent: put it where the coordinator has it, and name it by the path it has there"
        )
    return spec


def _check_coordinator(client: Client, address: str) -> None:
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    if not any(RESOURCE in worker["resources"] for worker in workers):
        raise StudyError(
            f"no worker of {address} has the resource '{RESOURCE}': start one that has the "
            f"databases' addresses, with `dask worker {address} --resources {RESOURCE}=1`"
        )


class _Submission:
    """A study that was sent to the cluster, and what is heard of it."""

    def __init__(self, client: Client, spec: StudySpec) -> None:
        self._client = client
        self._study = spec.study
        self._begun = False
        self._told: queue.SimpleQueue[Message] = queue.SimpleQueue()
        topic = f"grovekeeper-{spec.study}-{uuid.uuid4().hex}"
        client.subscribe_topic(topic, lambda event: self._told.put(event[1]))
        self._task = client.submit(
            coordinate, spec, topic, key=topic, pure=False, resources={RESOURCE: 1}
        )
        self._task.add_done_callback(lambda _: self._told.put(("ended", None)))
        fire_and_forget(self._task)

    def wait(self) -> dict[str, Any]:
        """Log the coordinator's messages until MLflow has the study's run; return its summary."""
        try:
            return self._wait()
        except BaseException:
            if self._begun and not self._task.done():
                _logger.info("the study runs on: `grovekeeper stop %s` ends it", self._study)
            elif self._client.status == "running":
                self._client.cancel([self._task], force=True)
            raise

    def _wait(self) -> dict[str, Any]:
        patience = time.monotonic() + _SOON
        while True:
            try:
                kind, content = self._told.get(timeout=_POLL)
            except queue.Empty:
                if self._client.status != "running":
                    raise StudyError(
                        "the Dask scheduler is gone: the same launch starts the study, or goes on"
                    ) from None
                if not self._begun and time.monotonic() > patience:
                    patience = math.inf
                    _logger.info("waiting for a free coordinator (Ctrl-C gives up)")
                continue
            if kind == "ended":
                return self._result()
            self._begun = True
            if kind == "log":
                level, text = content
                _logger.log(level, "%s", text)
            elif kind == "shown":
                return dict(content)

    def _result(self) -> dict[str, Any]:
        try:
            return dict(self._task.result())
        except (KilledWorker, CancelledError) as error:
            raise StudyError(
                f"study '{self._study}': coordinator after coordinator died, or the cluster is "
                "gone; the same launch goes on"
            ) from error


def coordinate(spec: StudySpec, topic: str) -> dict[str, Any]:
    """Launch a study from the worker that runs this task; what happens is told under `topic`."""
    worker = get_worker()
    # A long task of another kind: the worker's threads stay free to grow trees.
    secede()
    told = [message[0] for _, message in get_client().get_events(topic)]
    teller = _Teller(worker, topic)
    teller.tell("begun", worker.address)
    here = spec.model_copy(update={"scheduler": worker.scheduler.address})
    stores = _stores(worker.address)
    # Of a coordinator that died nobody has taken the lease: it runs out.
    deadline = time.monotonic() + DURATION + 2 * RENEW_EVERY
    while True:
        try:
            with messages_to(teller.log):
                return launch(here, stores, teller, Unstopped(), succeeds="shown" in told)
        except StudyBusyError:
            if not told or time.monotonic() > deadline:
                raise
            time.sleep(RENEW_EVERY)


def _stores(address: str) -> Stores:
    missing = [name for name in (_STORAGE, _TRACKING_URI) if not os.environ.get(name)]
    if missing:
        raise StudyError(
            f"the coordinator {address} has no {' and no '.join(missing)} in its environment: "
            "start that worker with it"
        )
    return Stores(os.environ[_STORAGE], os.environ[_TRACKING_URI])


class _Teller:
    """Tells whoever launched the study, as long as somebody listens."""

    def __init__(self, worker: Any, topic: str) -> None:
        self._worker = worker
        self._topic = topic

    def tell(self, kind: str, content: Any) -> None:
        """Send a message."""
        self._worker.log_event(self._topic, (kind, content))

    def log(self, record: logging.LogRecord) -> None:
        """Pass a log record on."""
        self.tell("log", (record.levelno, record.getMessage()))

    def shown(self, summary: Mapping[str, Any]) -> None:
        """Tell that whoever waits can go."""
        self.tell("shown", dict(summary))

    def begin(self, status: SearchStatus) -> None:
        """Progress is read from the database."""

    def changed(self) -> None:
        """Progress is read from the database."""

    def end(self) -> None:
        """Progress is read from the database."""

"""A launch whose coordinator runs on the cluster too, on a worker with the resource `coordinator`.

Only that worker has the addresses of the databases, in its environment; they are never sent. If it
dies, Dask gives the task to another one, which continues from the state of the database.
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

from search.data.addresses import TableAddress
from search.data.sources import is_readable_here
from search.data.table import read_table
from search.errors import StudyError, UsageError
from search.monitoring.messages import messages_to
from search.monitoring.observer import NeverStops
from search.monitoring.status import SearchStatus
from search.report.summary import StudySummary
from search.service.launch import launch
from search.stores import Stores
from search.study.problem import load_problem
from search.study.spec import StudySpec
from search.workers.factory import scheduler_of
from search.workers.remote import check_versions
from storage.errors import StudyBusyError
from storage.leases.lease import RENEW_EVERY
from storage.leases.store import DURATION
from storage.retry import retry
from storage.scheduler import connect

_logger = logging.getLogger(__name__)

RESOURCE = "coordinator"
_STORAGE, _TRACKING_URI = "OPTUNA_STORAGE", "MLFLOW_TRACKING_URI"
# Seconds between two checks of the connection, and before a message says that the task waits.
_POLL_INTERVAL = 1.0
_SILENT_WAIT = 5.0
# Bytes of the largest table to send: it goes through the scheduler's memory.
_MAX_BYTES = 500e6

Message = tuple[Literal["begun", "log", "mirrored", "ended"], Any]


def detach(spec: StudySpec) -> StudySummary:
    """Launch a study on its cluster; return as soon as MLflow has the study's run.

    A table on this machine is read here and sent along; otherwise the coordinator reads it.

    Returns
    -------
    the study's summary

    Raises
    ------
    SearchError, StorageError
        If the launch fails, here or at the coordinator. The message says in one line what failed
        and what to do.
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
    """Read the table and validate the specification before anything is sent."""
    table = spec.table
    if table is None:
        if not is_readable_here(TableAddress(spec.address)):
            return spec
        table = read_table(spec.address, spec.query, spec.limits, spec.description.text)
        spec = spec.with_table(table)
    load_problem(spec)
    n_bytes = int(table.memory_usage(deep=True).sum())
    if n_bytes > _MAX_BYTES:
        raise StudyError(
            f"{spec.data} takes {n_bytes / 1e6:.0f} MB, and at most {_MAX_BYTES / 1e6:.0f} MB are "
            "sent to the cluster: put the file where the coordinator can read it and name its path"
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
    """A study that was sent to the cluster, and the messages of its coordinator."""

    def __init__(self, client: Client, spec: StudySpec) -> None:
        self._client = client
        self._study = spec.study
        self._has_begun = False
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        topic = f"grovekeeper-{spec.study}-{uuid.uuid4().hex}"
        client.subscribe_topic(topic, lambda event: self._messages.put(event[1]))
        self._task = client.submit(
            coordinate, spec, topic, key=topic, pure=False, resources={RESOURCE: 1}
        )
        self._task.add_done_callback(lambda _: self._messages.put(("ended", None)))
        fire_and_forget(self._task)

    def wait(self) -> StudySummary:
        """Log the coordinator's messages until MLflow has the study's run; return its summary."""
        try:
            return self._wait()
        except BaseException:
            if self._has_begun and not self._task.done():
                _logger.info("the study runs on: `grovekeeper stop %s` ends it", self._study)
            elif self._client.status == "running":
                self._client.cancel([self._task], force=True)
            raise

    def _wait(self) -> StudySummary:
        silent_until = time.monotonic() + _SILENT_WAIT
        while True:
            try:
                kind, content = self._messages.get(timeout=_POLL_INTERVAL)
            except queue.Empty:
                if self._client.status != "running":
                    raise StudyError(
                        "the Dask scheduler is gone: run the same launch again to start or continue"
                    ) from None
                if not self._has_begun and time.monotonic() > silent_until:
                    silent_until = math.inf
                    _logger.info("waiting for a free coordinator (Ctrl-C gives up)")
                continue
            if kind == "ended":
                return self._result()
            self._has_begun = True
            if kind == "log":
                level, text = content
                _logger.log(level, "%s", text)
            elif kind == "mirrored":
                return StudySummary.model_validate(content)

    def _result(self) -> StudySummary:
        try:
            return StudySummary.model_validate(self._task.result())
        except (KilledWorker, CancelledError) as error:
            raise StudyError(
                f"study '{self._study}': several coordinators died in a row, or the cluster is "
                "gone: run the same launch again to continue"
            ) from error


def coordinate(spec: StudySpec, topic: str) -> dict[str, Any]:
    """Launch a study from the worker that runs this task; publish its messages under `topic`."""
    worker = get_worker()
    # This task runs for as long as the study: it must not occupy a thread that could grow trees.
    secede()
    # Messages of an earlier run of this task, whose worker died.
    earlier = [message[0] for _, message in get_client().get_events(topic)]
    forwarder = _Forwarder(worker, topic)
    forwarder.send("begun", worker.address)
    here = spec.model_copy(update={"scheduler": worker.scheduler.address})
    stores = _stores(worker.address)

    def run() -> dict[str, Any]:
        with messages_to(forwarder.log):
            succeeds = "mirrored" in earlier
            summary = launch(here, stores, forwarder, NeverStops(), succeeds=succeeds)
            return summary.model_dump()

    # The dead coordinator's lease must expire before this process can take over.
    return retry(
        run,
        (StudyBusyError,),
        timeout=DURATION + 2 * RENEW_EVERY if earlier else 0.0,
        first_pause=RENEW_EVERY,
        longest_pause=RENEW_EVERY,
    )


def _stores(address: str) -> Stores:
    missing = [name for name in (_STORAGE, _TRACKING_URI) if not os.environ.get(name)]
    if missing:
        raise StudyError(
            f"the coordinator {address} has no {' and no '.join(missing)} in its environment: "
            "start that worker with it"
        )
    return Stores(os.environ[_STORAGE], os.environ[_TRACKING_URI])


class _Forwarder:
    """Observer that forwards log records, and that the study has a run, to the launching client."""

    def __init__(self, worker: Any, topic: str) -> None:
        self._worker = worker
        self._topic = topic

    def send(self, kind: str, content: Any) -> None:
        """Send a message."""
        self._worker.log_event(self._topic, (kind, content))

    def log(self, record: logging.LogRecord) -> None:
        """Forward a log record."""
        self.send("log", (record.levelno, record.getMessage()))

    def mirrored(self, summary: Mapping[str, Any]) -> None:
        """Forward the summary: the client that waits for it can return."""
        self.send("mirrored", dict(summary))

    def begin(self, status: SearchStatus) -> None:
        """Do nothing: `grovekeeper watch` reads the progress from the database."""

    def changed(self) -> None:
        """Do nothing: `grovekeeper watch` reads the progress from the database."""

    def end(self) -> None:
        """Do nothing: `grovekeeper watch` reads the progress from the database."""

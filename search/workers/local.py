"""Worker processes on this machine, forked from a process that has imported their libraries."""

import logging
import multiprocessing
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Self

from search.errors import StudyError
from search.forest.training_set import TrainingSet, make_folder
from search.workers.dask_workers import DaskWorkers
from storage.scheduler import silence

_PRELOAD = ["distributed", "search.workers.dask_workers", "sklearn.ensemble"]
# Seconds to wait for the local cluster.
_START_TIMEOUT = 60
# A trial fails when more workers than this have died on its task. A remote cluster has its own
# setting.
_ALLOWED_FAILURES = 2
# Signals that a terminal sends to all its processes.
_OF_TERMINALS = (signal.SIGINT, signal.SIGHUP)


def prepare() -> None:
    """Start importing the workers' libraries in the process that workers are forked from.

    This returns at once and halves the time until workers are ready: the imports run while the
    caller continues, and once instead of once per worker.
    """
    if _has_forkserver():
        multiprocessing.set_forkserver_preload(_PRELOAD)
        with _ignoring_terminal():
            forkserver.ensure_running()


@contextmanager
def _ignoring_terminal() -> Iterator[None]:
    """Make processes that start in this context ignore Ctrl-C and the end of the terminal.

    A terminal sends these signals to all its processes. Workers would print a traceback or end at
    once, but the coordinator ends them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _OF_TERMINALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _has_forkserver() -> bool:
    return "forkserver" in multiprocessing.get_all_start_methods()


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the caller's script from processes that start in this context.

    Python makes a new process import the main module. Workers need nothing from it, and a script
    that launches a study would launch another one in each worker.
    """
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {
        name: vars(main).pop(name) for name in ("__file__", "__spec__") if name in vars(main)
    }
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(hidden)


class LocalWorkers(DaskWorkers):
    """Local worker processes of one thread each."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count
        # Writes the encodings for which trials may wait.
        self._encoder: threading.Thread | None = None
        self._encoding_error: Exception | None = None
        self._closing = threading.Event()

    def __enter__(self) -> Self:
        import dask
        from distributed import Client, LocalCluster
        from distributed.security import Security

        silence()
        method = "forkserver" if _has_forkserver() else "spawn"
        settings = {
            "distributed.worker.multiprocessing-method": method,
            "distributed.scheduler.allowed-failures": _ALLOWED_FAILURES,
            # Dask measures this time on the wall clock: when the clock is set forward, all workers
            # would count as dead. Dead local workers are noticed by their closed connections.
            "distributed.scheduler.worker-ttl": None,
            # The profiler of the dashboard samples tasks 100 times a second, which takes CPU time.
            "distributed.worker.profile.enabled": False,
        }
        with ExitStack() as stack:
            self._folder = Path(stack.enter_context(make_folder()))
            stack.callback(self._end_encoding)
            # These stay in effect until the end, because dead workers are replaced.
            stack.enter_context(dask.config.set(settings))
            stack.enter_context(_without_main())
            cluster = LocalCluster(
                n_workers=self._count,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                # Dask always serves its state over HTTP; restrict it to loopback and a free port.
                dashboard_address="127.0.0.1:0",
                worker_dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
                # Every user of this machine can connect to loopback, and a scheduler executes what
                # it receives. TLS with temporary keys, held in memory, admits only this process
                # and its workers.
                security=Security.temporary(),
            )
            stack.enter_context(cluster)
            self._client = stack.enter_context(Client(cluster, timeout=_START_TIMEOUT))
            self._exit_stack = stack.pop_all()
        return self

    def count(self) -> int:
        """Return the number of workers that were requested; dead workers are replaced."""
        return self._count

    def present(self) -> int:
        """See `Workers`; also raises if the rows cannot be encoded."""
        if self._encoding_error is not None:
            raise StudyError(
                f"the training rows cannot be encoded: {self._encoding_error}"
            ) from self._encoding_error
        return len(self._client.nthreads())

    def load(self, training_set: TrainingSet) -> None:
        """Write the training set to a folder; every worker maps it into memory.

        The encodings other than the default one are written while the first trials grow.
        """
        self._end_encoding()
        self._closing.clear()
        self._encoding_error = None
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        self._training_set_key = str(folder)
        training_set.save(folder)
        if training_set.encodings:
            self._encoder = threading.Thread(
                target=self._write_encodings, args=(training_set, folder), name="encoder"
            )
            self._encoder.start()

    def _write_encodings(self, training_set: TrainingSet, folder: Path) -> None:
        try:
            for encoding in training_set.encodings:
                if self._closing.is_set():
                    return
                training_set.save_encoding(folder, encoding)
        except Exception as error:  # raised by `present`
            self._encoding_error = error

    def _end_encoding(self) -> None:
        self._closing.set()
        if self._encoder is not None:
            self._encoder.join()

"""Worker processes on this machine, forked from one that has imported what they need."""

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

from search.forest.training_set import TrainingSet, make_folder
from search.workers.dask_workers import MOST_KILLED, DaskWorkers
from storage.scheduler import silence

_PRELOAD = ["distributed", "search.workers.dask_workers", "sklearn.ensemble"]
_START_TIMEOUT = 60


def prepare() -> None:
    """Begin importing what workers need, in a process of its own that workers are forked from.

    Costs the caller nothing and halves the start: the import runs beside the caller's, and once
    instead of once a worker.
    """
    if _has_forkserver():
        multiprocessing.set_forkserver_preload(_PRELOAD)
        with _ignoring_interrupts():
            forkserver.ensure_running()


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Let a process start that ignores Ctrl-C, which a terminal sends to workers, too.

    The coordinator ends them; a worker of its own accord would print a traceback.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _has_forkserver() -> bool:
    return "forkserver" in multiprocessing.get_all_start_methods()


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the caller's script from processes that start: they would run it once more.

    Python has a new process import the main module, in case it needs something of it. Ours need
    nothing, and a script that launches a study would, imported, launch it in each of its workers.
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

    def __enter__(self) -> Self:
        import dask
        from distributed import Client, LocalCluster
        from distributed.security import Security

        silence()
        method = "forkserver" if _has_forkserver() else "spawn"
        settings = {
            "distributed.worker.multiprocessing-method": method,
            "distributed.scheduler.allowed-failures": MOST_KILLED - 1,
        }
        with ExitStack() as stack:
            self._folder = Path(stack.enter_context(make_folder()))
            # To the end: a worker that takes a dead one's place is started by them, too.
            stack.enter_context(dask.config.set(settings))
            stack.enter_context(_without_main())
            cluster = LocalCluster(
                n_workers=self._count,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                # Dask always serves its state over HTTP: on loopback, then, on any free port.
                dashboard_address="127.0.0.1:0",
                worker_dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
                # Loopback is everybody's on this machine, and a scheduler runs what it is sent: who
                # has the keys, which are made here and kept in memory, may send.
                security=Security.temporary(),
            )
            stack.enter_context(cluster)
            self._client = stack.enter_context(Client(cluster, timeout=_START_TIMEOUT))
            self._open = stack.pop_all()
        return self

    def count(self) -> int:
        """As many as were asked for: one that died is replaced."""
        return self._count

    def present(self) -> int:
        """Workers that are there now."""
        return len(self._client.nthreads())

    def load(self, rows: TrainingSet) -> None:
        """Put the training rows into a folder that every worker maps."""
        self._rows = tempfile.mkdtemp(dir=self._folder)
        rows.save(Path(self._rows))

"""Where trees grow: worker processes on this machine, as a Dask cluster."""

import logging
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import NDArray

from search.forest import Outcome

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

_PRELOAD = ["distributed", "search.forest"]
_START_TIMEOUT = 60


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity
        return os.cpu_count() or 1


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


@dataclass(frozen=True, eq=False)
class Growth:
    """Trees being grown: the sums stay with the worker, the outcome comes back."""

    sums: "Future[Any]"
    outcome: "Future[Any]"

    def cancel(self) -> None:
        """Abandon the trees."""
        self.outcome.cancel()
        self.sums.cancel()


class Workers:
    """Local worker processes of one thread each; a context manager.

    Finished growths arrive in `finished`, as (trial number, `Growth`, outcome or error).
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.finished: queue.SimpleQueue[tuple[int, Growth, Outcome | Exception]] = (
            queue.SimpleQueue()
        )
        self._cluster: LocalCluster
        self._client: Client
        self._data: list[Future[Any]] = []

    def __enter__(self) -> Self:
        import dask
        from distributed import Client, LocalCluster

        method = "forkserver" if _has_forkserver() else "spawn"
        with dask.config.set({"distributed.worker.multiprocessing-method": method}):
            self._cluster = LocalCluster(
                n_workers=self.count,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                # Dask always serves its state over HTTP: on loopback, then, on any free port.
                dashboard_address="127.0.0.1:0",
                worker_dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
            )
        try:
            self._client = Client(self._cluster, timeout=_START_TIMEOUT)
        except BaseException:
            self._cluster.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()
        self._cluster.close()

    def load(self, X: NDArray[Any], y: NDArray[Any]) -> None:
        """Send the training rows to every worker, once."""
        self._data = self._client.scatter([X, y], broadcast=True)

    def grow(
        self,
        trial: int,
        seed: tuple[int, int],
        params: Mapping[str, Any],
        n_classes: int,
        metric: str,
        trees: range,
        before: Growth | None,
    ) -> Growth:
        """Grow more trees of a trial, after those of `before`.

        Parameters
        ----------
        trial
            The trial's number, under which the growth arrives in `finished`.
        seed
            The study's seed and the trial's place in the search.
        """
        from search import forest

        X, y = self._data
        earlier = before.sums if before else None
        sums = self._client.submit(
            forest.grow, X, y, n_classes, dict(params), *seed, trees, earlier, pure=False
        )
        outcome = self._client.submit(forest.outcome, sums, y, metric, pure=False)
        growth = Growth(sums, outcome)
        # Called in a thread of Dask's, where fetching the outcome keeps nobody waiting.
        outcome.add_done_callback(lambda done: self.finished.put((trial, growth, _result(done))))
        return growth


def _result(done: "Future[Any]") -> "Outcome | Exception":
    from concurrent.futures import CancelledError

    try:
        result: Outcome = done.result()
    except (Exception, CancelledError) as error:
        return error
    return result

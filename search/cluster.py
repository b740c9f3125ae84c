"""Where trees grow: worker processes on this machine, as a Dask cluster."""

import logging
import multiprocessing
import os
import queue
import signal
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import reduce
from itertools import chain, pairwise
from multiprocessing import forkserver
from operator import add
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from search.errors import DeadlyTrialError
from search.forest import grow
from search.pruning import Blocks
from search.rows import Rows, load_rows, make_folder
from search.sums import OobSums, Outcome, outcome

if TYPE_CHECKING:
    from distributed import Client, Future

_PRELOAD = ["distributed", "search.cluster"]
_START_TIMEOUT = 60
# So many workers may die of a task; then its trial fails.
MOST_KILLED = 3


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
    """Trees being grown: the sums stay with the workers, the outcomes come back."""

    outcomes: "Future[Any]"
    sums: "Future[Any] | None" = None
    parts: "tuple[Future[Any], ...]" = ()

    def cancel(self) -> None:
        """Abandon the trees."""
        for future in (self.outcomes, self.sums, *self.parts):
            if future is not None:
                future.cancel()


@dataclass(frozen=True)
class Order:
    """Trees to grow.

    Attributes
    ----------
    key
        Under which the growth arrives in `Workers.finished`.
    seed, place
        The study's seed and the trial's place in the search.
    start, rungs
        Trees that are grown already, and at which numbers of trees they are judged; multiples of
        `chunk`.
    chunk
        Trees in a chunk, as `Rows.chunk` has it.
    metric
        Name of the score.
    rivals
        The blocks of the trial to compare with, by number of trees: growing ends where this one is
        behind.
    """

    key: int
    seed: int
    place: int
    params: Mapping[str, Any]
    start: int
    rungs: tuple[int, ...]
    metric: str
    rivals: Mapping[int, Blocks]
    chunk: int

    @property
    def chunks(self) -> range:
        """Numbers of the chunks up to the last rung."""
        return range(self.start // self.chunk, self.rungs[-1] // self.chunk)

    def steps(self) -> "Iterator[range]":
        """Yield the numbers of each rung's chunks."""
        for first, last in pairwise((self.start, *self.rungs)):
            yield range(first // self.chunk, last // self.chunk)


class Workers:
    """Local worker processes of one thread each; a context manager.

    Finished growths arrive in `finished`, as (key, `Growth`, outcomes or error): an outcome a rung.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.finished: queue.SimpleQueue[tuple[int, Growth, list[Outcome] | Exception]] = (
            queue.SimpleQueue()
        )
        self._client: Client
        self._open = ExitStack()
        self._folder = make_folder()
        self._rows = Path(self._folder.name)

    def __enter__(self) -> Self:
        import dask
        from distributed import Client, LocalCluster

        method = "forkserver" if _has_forkserver() else "spawn"
        settings = {
            "distributed.worker.multiprocessing-method": method,
            "distributed.scheduler.allowed-failures": MOST_KILLED - 1,
        }
        with ExitStack() as stack:
            # To the end: a worker that takes a dead one's place is started by them, too.
            stack.enter_context(dask.config.set(settings))
            cluster = LocalCluster(
                n_workers=self.count,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                # Dask always serves its state over HTTP: on loopback, then, on any free port.
                dashboard_address="127.0.0.1:0",
                worker_dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
            )
            stack.enter_context(cluster)
            self._client = stack.enter_context(Client(cluster, timeout=_START_TIMEOUT))
            self._open = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()
        self._folder.cleanup()

    def present(self) -> int:
        """Workers that are there now: one that died is missing until another is in its place."""
        return len(self._client.nthreads())

    def load(self, rows: Rows) -> None:
        """Put the training rows where every worker finds them."""
        self._rows = Path(tempfile.mkdtemp(dir=self._folder.name))
        rows.save(self._rows)

    def grow_to_end(self, order: Order) -> Growth:
        """Grow a trial through its rungs in one task: for trials that are short."""
        outcomes = self._client.submit(_grow_to_end, str(self._rows), order, pure=False)
        return self._deliver(order, Growth(outcomes))

    def grow(self, order: Order, before: Growth | None, parts: int = 1) -> Growth:
        """Grow a trial to its next rung, after the trees of `before`.

        Parameters
        ----------
        parts
            Tasks to cut the work into, for as many workers; changes nothing in the result.
        """
        submit, common = self._client.submit, (str(self._rows), order)
        earlier = before.sums if before else None
        pieces: tuple[Future[Any], ...] = ()
        if parts == 1:
            sums = submit(_grow_on, *common, earlier, pure=False)
        else:
            pieces = tuple(
                submit(_grow_part, *common, part, parts, pure=False) for part in range(parts)
            )
            sums = submit(_join, earlier, list(pieces), pure=False)
        outcomes = submit(_judge, *common, sums, pure=False)
        return self._deliver(order, Growth(outcomes, sums, pieces))

    def _deliver(self, order: Order, growth: Growth) -> Growth:
        # Called in a thread of Dask's, where fetching the outcomes keeps nobody waiting.
        growth.outcomes.add_done_callback(
            lambda done: self.finished.put((order.key, growth, _result(done)))
        )
        return growth


def _grow_to_end(folder: str, order: Order) -> list[Outcome]:
    rows, sums, outcomes = load_rows(Path(folder)), None, list[Outcome]()
    for chunks in order.steps():
        sums = _add_up(sums, grow(rows, order.params, order.seed, order.place, chunks))
        outcomes.append(outcome(sums, rows, order.metric, order.rivals))
        if outcomes[-1].behind:
            break
    return outcomes


def _grow_on(folder: str, order: Order, before: OobSums | None) -> OobSums:
    grown = grow(load_rows(Path(folder)), order.params, order.seed, order.place, order.chunks)
    return _add_up(before, grown)


def _grow_part(folder: str, order: Order, part: int, parts: int) -> list[OobSums]:
    """Grow one of `parts` stretches of the chunks."""
    chunks, n = order.chunks, len(order.chunks)
    own = chunks[part * n // parts : (part + 1) * n // parts]
    return list(grow(load_rows(Path(folder)), order.params, order.seed, order.place, own))


def _join(before: OobSums | None, parts: list[list[OobSums]]) -> OobSums:
    return _add_up(before, chain.from_iterable(parts))


def _add_up(before: OobSums | None, chunks: Iterable[OobSums]) -> OobSums:
    """Add chunk after chunk: in another order, the last bit would be another."""
    return reduce(add, chunks if before is None else chain([before], chunks))


def _judge(folder: str, order: Order, sums: OobSums) -> list[Outcome]:
    return [outcome(sums, load_rows(Path(folder)), order.metric, order.rivals)]


def _result(done: "Future[Any]") -> "list[Outcome] | Exception":
    from concurrent.futures import CancelledError

    from distributed import KilledWorker

    try:
        result: list[Outcome] = done.result()
    except KilledWorker:
        return DeadlyTrialError(f"killed {MOST_KILLED} workers one after another: out of memory?")
    except (Exception, CancelledError) as error:
        return error
    return result

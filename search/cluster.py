"""Trees grown by Dask workers, wherever they are: what is ordered, and what comes back."""

import queue
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain, pairwise
from operator import add
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from search.errors import DeadlyTrialError
from search.forest import grow
from search.pruning import Blocks
from search.rows import Rows, rows_at
from search.sums import OobSums, Outcome, outcome
from storage.records import Span

if TYPE_CHECKING:
    from distributed import Client, Future

# So many workers may die of a task; then its trial fails.
MOST_KILLED = 3


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


class Workers(ABC):
    """Dask workers that grow trees; a context manager, entered by its subclasses.

    Finished growths arrive in `finished`, as (key, `Growth`, outcomes or error): an outcome a rung.
    """

    def __init__(self) -> None:
        self.finished: queue.SimpleQueue[tuple[int, Growth, list[Outcome] | Exception]] = (
            queue.SimpleQueue()
        )
        self._client: Client
        # Under which workers find the training rows.
        self._rows = ""
        # What is to be closed at the end, filled by whoever enters.
        self._open = ExitStack()

    @abstractmethod
    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    @abstractmethod
    def load(self, rows: Rows) -> None:
        """Put the training rows where every worker finds them."""

    @abstractmethod
    def count(self) -> int:
        """Tasks that run at the same time, as far as is known; at least 1."""

    @abstractmethod
    def present(self) -> int:
        """Threads that are there now: those of a worker that died are missing until it is replaced.

        Raises
        ------
        StudyError
            When the cluster is gone.
        """

    def grow_to_end(self, order: Order) -> Growth:
        """Grow a trial through its rungs in one task: for trials that are short."""
        outcomes = self._client.submit(_grow_to_end, self._rows, order, pure=False)
        return self._deliver(order, Growth(outcomes))

    def grow(self, order: Order, before: Growth | None, parts: int = 1) -> Growth:
        """Grow a trial to its next rung, after the trees of `before`.

        Parameters
        ----------
        parts
            Tasks to cut the work into, for as many workers; changes nothing in the result.
        """
        submit, common = self._client.submit, (self._rows, order)
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
        def deliver(done: "Future[Any]") -> None:
            # What a client that lost its scheduler cancels says nothing of the trial.
            if self._client.status == "running":
                self.finished.put((order.key, growth, _result(done)))

        # Called in a thread of Dask's, where fetching the outcomes keeps nobody waiting.
        growth.outcomes.add_done_callback(deliver)
        return growth


def _grow_to_end(key: str, order: Order) -> list[Outcome]:
    rows, sums, outcomes = rows_at(key), None, list[Outcome]()
    for chunks in order.steps():
        sums = _add_up(sums, _grown(rows, order, chunks))
        outcomes.append(outcome(sums, rows, order.metric, order.rivals))
        if outcomes[-1].behind:
            break
    return outcomes


def _grow_on(key: str, order: Order, before: OobSums | None) -> OobSums:
    return _add_up(before, _grown(rows_at(key), order, order.chunks))


def _grow_part(key: str, order: Order, part: int, parts: int) -> list[OobSums]:
    """Grow one of `parts` stretches of the chunks."""
    chunks, n = order.chunks, len(order.chunks)
    own = chunks[part * n // parts : (part + 1) * n // parts]
    return list(_grown(rows_at(key), order, own))


def _grown(rows: Rows, order: Order, chunks: Iterable[int]) -> Iterator[OobSums]:
    """Grow chunks on this worker, and note where and when."""
    from distributed import get_worker

    worker, began = str(get_worker().name), time.time()
    for sums in grow(rows, order.params, order.seed, order.place, chunks):
        ended = time.time()
        yield replace(sums, spans=(Span(worker, round(began, 3), round(ended, 3)),))
        began = ended


def _join(before: OobSums | None, parts: list[list[OobSums]]) -> OobSums:
    return _add_up(before, chain.from_iterable(parts))


def _add_up(before: OobSums | None, chunks: Iterable[OobSums]) -> OobSums:
    """Add chunk after chunk: in another order, the last bit would be another."""
    return reduce(add, chunks if before is None else chain([before], chunks))


def _judge(key: str, order: Order, sums: OobSums) -> list[Outcome]:
    return [outcome(sums, rows_at(key), order.metric, order.rivals)]


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

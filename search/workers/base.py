"""What is ordered of whoever grows trees, and what comes back."""

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
from typing import Any, Protocol, Self

from search.forest.growing import grow
from search.forest.oob import OobSums, RungResult, evaluate_rung
from search.forest.pruning import PseudoValues
from search.forest.training_set import TrainingSet
from storage.records import Span


class Cancellable(Protocol):
    """What a task will have for its result, here or on another machine."""

    def cancel(self) -> Any:
        """Abandon the task."""


@dataclass(frozen=True, eq=False)
class PendingGrowth:
    """Trees being grown: the sums stay with the workers, the results come back."""

    results: Cancellable
    sums: Any = None
    parts: tuple[Cancellable, ...] = ()

    def cancel(self) -> None:
        """Abandon the trees."""
        for pending in (self.results, self.sums, *self.parts):
            if pending is not None:
                pending.cancel()


@dataclass(frozen=True)
class GrowthRequest:
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
        Trees in a chunk, as `TrainingSet.chunk` has it.
    metric
        Name of the score.
    incumbent
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
    incumbent: Mapping[int, PseudoValues]
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
    """Whoever grows trees: a context manager.

    Finished growths arrive in `finished` as (key, `PendingGrowth`, results or error), with one
    result per rung.
    """

    def __init__(self) -> None:
        self.finished: queue.SimpleQueue[
            tuple[int, PendingGrowth, list[RungResult] | Exception]
        ] = queue.SimpleQueue()
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
    def load(self, rows: TrainingSet) -> None:
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

    @abstractmethod
    def grow_to_end(self, request: GrowthRequest) -> PendingGrowth:
        """Grow a trial through its rungs in one task: for trials that are short."""

    @abstractmethod
    def grow(
        self, request: GrowthRequest, before: PendingGrowth | None, parts: int = 1
    ) -> PendingGrowth:
        """Grow a trial to its next rung, after the trees of `before`.

        Parameters
        ----------
        parts
            Tasks to cut the work into, for as many workers; changes nothing in the result.
        """


def grow_through(rows: TrainingSet, request: GrowthRequest, worker: str) -> list[RungResult]:
    """Grow a trial through its rungs, until it is behind; return one result per rung."""
    sums, results = None, list[RungResult]()
    for chunks in request.steps():
        sums = add_up(sums, grow_chunks(rows, request, chunks, worker))
        results.append(evaluate_rung(sums, rows, request.metric, request.incumbent))
        if results[-1].behind:
            break
    return results


def grow_chunks(
    rows: TrainingSet, request: GrowthRequest, chunks: Iterable[int], worker: str
) -> Iterator[OobSums]:
    """Grow chunks, and note when, and that this worker did."""
    began = time.time()
    for sums in grow(rows, request.params, request.seed, request.place, chunks):
        ended = time.time()
        yield replace(sums, spans=(Span(worker, round(began, 3), round(ended, 3)),))
        began = ended


def add_up(before: OobSums | None, chunks: Iterable[OobSums]) -> OobSums:
    """Add chunk after chunk: in another request, the last bit would be another."""
    return reduce(add, chunks if before is None else chain([before], chunks))

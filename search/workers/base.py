"""The interface of workers: requests to grow trees, pending growths, and the class `Workers`."""

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

from search.forest.fitting import GrowElsewhere
from search.forest.growing import grow
from search.forest.oob import OobSums, RungResult, evaluate_rung
from search.forest.pruning import PseudoValues
from search.forest.training_set import TrainingSet
from storage.records import Span


@dataclass(frozen=True)
class GrowthRequest:
    """A request to grow a trial's trees up to one or more rungs.

    Attributes
    ----------
    key
        Identifies the growth in `Workers.finished`.
    seed, place
        The study's seed and the trial's place in the search.
    params
        The trial's hyperparameters.
    before
        Trees that the trial has grown on smaller samples of the rows.
    start, rungs
        Number of trees that the trial has, and the numbers of trees at which it is scored, with
        those grown before; all are multiples of `chunk`.
    rows
        Number of rows of the sample to grow on; see `TrainingSet.sample`.
    metric
        Name of the study's metric.
    incumbent
        Pseudo-values of the incumbent by step. Growing ends at the first rung where the
        trial is behind. Empty for a trial that is never pruned.
    chunk
        Trees in a chunk; equal to `TrainingSet.chunk`.
    """

    key: int
    seed: int
    place: int
    params: Mapping[str, Any]
    start: int
    rungs: tuple[int, ...]
    rows: int
    metric: str
    incumbent: Mapping[int, PseudoValues]
    chunk: int
    before: int = 0

    @property
    def chunks(self) -> range:
        """Numbers of the chunks up to the last rung."""
        return range(self.start // self.chunk, self.rungs[-1] // self.chunk)

    def chunks_by_rung(self) -> Iterator[range]:
        """Yield the numbers of the chunks of each rung."""
        for first, last in pairwise((self.start, *self.rungs)):
            yield range(first // self.chunk, last // self.chunk)


class Cancellable(Protocol):
    """A pending task, such as a future, in this process or on a cluster."""

    def cancel(self) -> Any:
        """Cancel the task."""

    def done(self) -> bool:
        """Whether the task has ended."""


@dataclass(frozen=True, eq=False)
class PendingGrowth:
    """Trees that are being grown.

    Attributes
    ----------
    results
        The pending results at the rungs, which are sent back.
    sums
        The pending sums, which stay with the workers; None if no later growth needs them.
    parts
        Tasks that each grow a part of the trees.
    """

    results: Cancellable
    sums: Any = None
    parts: tuple[Cancellable, ...] = ()

    def cancel(self) -> None:
        """Cancel all tasks of the growth."""
        for pending in (self.results, self.sums, *self.parts):
            if pending is not None:
                pending.cancel()


class Workers(ABC):
    """Workers that grow trees; a context manager.

    Finished growths arrive in `finished` as (key, `PendingGrowth`, results or error), with one
    result per rung.
    """

    def __init__(self) -> None:
        self.finished: queue.SimpleQueue[
            tuple[int, PendingGrowth, list[RungResult] | Exception]
        ] = queue.SimpleQueue()
        # Closed by `__exit__`; filled by the `__enter__` of subclasses.
        self._exit_stack = ExitStack()

    @abstractmethod
    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exit_stack.close()

    @abstractmethod
    def load(self, training_set: TrainingSet) -> None:
        """Make the training set available to every worker."""

    @abstractmethod
    def count(self) -> int:
        """Return the number of tasks that run at the same time, as last known; at least 1."""

    @abstractmethod
    def present(self) -> int:
        """Return the number of threads that exist now, without those of dead workers.

        Raises
        ------
        StudyError
            If the cluster is gone.
        """

    @abstractmethod
    def grow_to_end(self, request: GrowthRequest) -> PendingGrowth:
        """Grow a trial through all rungs of the request in one task; for short trials."""

    @abstractmethod
    def grow(
        self, request: GrowthRequest, before: PendingGrowth | None, parts: int = 1
    ) -> PendingGrowth:
        """Grow a trial to its next rung, and add the sums of `before`.

        Parameters
        ----------
        before
            The trial's previous growth on the same rows; None if there is none.
        parts
            Number of tasks to divide the work into; it does not affect the result.
        """

    @property
    def forest_grower(self) -> GrowElsewhere | None:
        """The function that grows a champion; ``None`` if it should grow in this process."""
        return None

    def cancel(self, growth: PendingGrowth) -> None:
        """Cancel all tasks of a growth; do nothing if the cluster is gone."""
        growth.cancel()


def grow_through(
    training_set: TrainingSet, request: GrowthRequest, worker: str
) -> list[RungResult]:
    """Grow a trial through its rungs until it is behind; return one result per rung.

    Parameters
    ----------
    worker
        Name of this worker, for the spans of the sums.
    """
    sums, results = None, list[RungResult]()
    for chunks in request.chunks_by_rung():
        sums = add_sums(sums, grow_chunks(training_set, request, chunks, worker))
        results.append(score_rung(sums, training_set, request))
        if results[-1].behind:
            break
    return results


def score_rung(sums: OobSums, training_set: TrainingSet, request: GrowthRequest) -> RungResult:
    """Score a trial's sums on the rows that a request grows on."""
    rows = training_set.sample(request.rows)
    return evaluate_rung(sums, rows, request.metric, request.incumbent, request.before)


def grow_chunks(
    training_set: TrainingSet, request: GrowthRequest, chunks: Iterable[int], worker: str
) -> Iterator[OobSums]:
    """Grow chunks and add a span to each: when it was grown, and by which worker."""
    began, rows = time.time(), training_set.sample(request.rows)
    for sums in grow(rows, request.params, request.seed, request.place, chunks):
        ended = time.time()
        yield replace(sums, spans=(Span(worker, round(began, 3), round(ended, 3)),))
        began = ended


def add_sums(before: OobSums | None, chunks: Iterable[OobSums]) -> OobSums:
    """Add the sums of chunks in their order; another order would change the last bits."""
    return reduce(add, chunks if before is None else chain([before], chunks))

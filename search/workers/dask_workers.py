"""Grows trees on Dask workers; the base class of local and remote workers."""

import time
from itertools import chain
from typing import TYPE_CHECKING, Any

from search.errors import DeadlyTrialError
from search.forest.oob import OobSums, RungResult
from search.forest.training_set import MissingTrainingSetError, TrainingSet, find_training_set
from search.workers.base import (
    GrowthRequest,
    PendingGrowth,
    Workers,
    add_sums,
    grow_chunks,
    grow_through,
    score_rung,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from distributed import Client, Future

# Seconds that a task waits on a worker without training set before it is rescheduled.
_RESCHEDULE_PAUSE = 1.0


class DaskWorkers(Workers):
    """Workers of a Dask cluster. Subclasses enter and close the client."""

    def __init__(self) -> None:
        super().__init__()
        self._client: Client
        # Key with which tasks find the training set; see `find_training_set`.
        self._training_set_key = ""

    def grow_to_end(self, request: GrowthRequest) -> PendingGrowth:
        """See `Workers`."""
        results = self._submit(_grow_to_end, self._training_set_key, request)
        return self._deliver(request, results)

    def grow(
        self, request: GrowthRequest, before: PendingGrowth | None, parts: int = 1
    ) -> PendingGrowth:
        """See `Workers`."""
        common = (self._training_set_key, request)
        earlier = before.sums if before else None
        futures: tuple[Future[Any], ...] = ()
        if parts == 1:
            sums = self._submit(_grow_whole, *common, earlier)
        else:
            futures = tuple(self._submit(_grow_part, *common, part, parts) for part in range(parts))
            sums = self._submit(_add_parts, earlier, list(futures))
        results = self._submit(_evaluate, *common, sums)
        return self._deliver(request, results, sums, futures)

    def _submit(self, task: "Callable[..., Any]", *arguments: Any) -> "Future[Any]":
        return self._client.submit(task, *arguments, pure=False)

    def _deliver(
        self,
        request: GrowthRequest,
        results: "Future[Any]",
        sums: "Future[Any] | None" = None,
        parts: "tuple[Future[Any], ...]" = (),
    ) -> PendingGrowth:
        """Return the growth, and put its results into `finished` when they arrive."""
        growth = PendingGrowth(results, sums, parts)

        def deliver(done: "Future[Any]") -> None:
            # A client that lost its scheduler cancels its futures; the trial has not failed.
            if self._client.status == "running":
                self.finished.put((request.key, growth, _results_or_error(done)))

        # Dask calls this in a thread of its own, so fetching the results does not block the
        # coordinator.
        results.add_done_callback(deliver)
        return growth


def _results_or_error(done: "Future[Any]") -> "list[RungResult] | Exception":
    from concurrent.futures import CancelledError

    from distributed import KilledWorker

    try:
        result: list[RungResult] = done.result()
    except KilledWorker as error:
        killed = error.allowed_failures + 1
        return DeadlyTrialError(f"killed {killed} workers one after another: out of memory?")
    except (Exception, CancelledError) as error:
        return error
    return result


# The functions below run on workers.


def _grow_to_end(key: str, request: GrowthRequest) -> list[RungResult]:
    return grow_through(training_set_of(key), request, _worker_name())


def _grow_whole(key: str, request: GrowthRequest, before: OobSums | None) -> OobSums:
    chunks = grow_chunks(training_set_of(key), request, request.chunks, _worker_name())
    return add_sums(before, chunks)


def _grow_part(key: str, request: GrowthRequest, part: int, parts: int) -> list[OobSums]:
    """Grow the chunks of one of `parts` parts of nearly equal size."""
    chunks, n = request.chunks, len(request.chunks)
    own = chunks[part * n // parts : (part + 1) * n // parts]
    return list(grow_chunks(training_set_of(key), request, own, _worker_name()))


def _add_parts(before: OobSums | None, parts: list[list[OobSums]]) -> OobSums:
    return add_sums(before, chain.from_iterable(parts))


def _evaluate(key: str, request: GrowthRequest, sums: OobSums) -> list[RungResult]:
    return [score_rung(sums, training_set_of(key), request)]


def training_set_of(key: str) -> TrainingSet:
    """Return the training set; reschedule the task if this worker could not store it."""
    try:
        return find_training_set(key)
    except MissingTrainingSetError:
        from distributed import Reschedule

        # The task may return to this worker until the coordinator has retired it.
        time.sleep(_RESCHEDULE_PAUSE)
        raise Reschedule from None


def _worker_name() -> str:
    from distributed import get_worker

    return str(get_worker().name)

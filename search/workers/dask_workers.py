"""Trees grown by Dask workers, wherever they are."""

import time
from itertools import chain
from typing import TYPE_CHECKING, Any

from search.errors import DeadlyTrialError
from search.forest.oob import OobSums, RungResult, evaluate_rung
from search.forest.training_set import MissingTrainingSetError, TrainingSet, find_training_set
from search.workers.base import (
    GrowthRequest,
    PendingGrowth,
    Workers,
    add_up,
    grow_chunks,
    grow_through,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from distributed import Client, Future

# So many workers of this machine may die of a task; then its trial fails. A cluster that is there
# already has a number of its own.
MOST_KILLED = 3
# Seconds before a task leaves a worker that has no rows.
_PAUSE = 1.0


class DaskWorkers(Workers):
    """Dask workers; entered by its subclasses."""

    def __init__(self) -> None:
        super().__init__()
        self._client: Client
        # Under which workers find the training rows.
        self._rows = ""

    def grow_to_end(self, request: GrowthRequest) -> PendingGrowth:
        """See `Workers`."""
        results = self._submit(_grow_to_end, self._rows, request)
        return self._deliver(request, results)

    def grow(
        self, request: GrowthRequest, before: PendingGrowth | None, parts: int = 1
    ) -> PendingGrowth:
        """See `Workers`."""
        common = (self._rows, request)
        earlier = before.sums if before else None
        pieces: tuple[Future[Any], ...] = ()
        if parts == 1:
            sums = self._submit(_grow_on, *common, earlier)
        else:
            pieces = tuple(self._submit(_grow_part, *common, part, parts) for part in range(parts))
            sums = self._submit(_join, earlier, list(pieces))
        results = self._submit(_judge, *common, sums)
        return self._deliver(request, results, sums, pieces)

    def _submit(self, task: "Callable[..., Any]", *arguments: Any) -> "Future[Any]":
        return self._client.submit(task, *arguments, pure=False)

    def _deliver(
        self,
        request: GrowthRequest,
        results: "Future[Any]",
        sums: "Future[Any] | None" = None,
        parts: "tuple[Future[Any], ...]" = (),
    ) -> PendingGrowth:
        growth = PendingGrowth(results, sums, parts)

        def deliver(done: "Future[Any]") -> None:
            # What a client that lost its scheduler cancels says nothing of the trial.
            if self._client.status == "running":
                self.finished.put((request.key, growth, _result(done)))

        # Called in a thread of Dask's, where fetching the results keeps nobody waiting.
        results.add_done_callback(deliver)
        return growth


def _rows_here(key: str) -> TrainingSet:
    """Return the rows; where this worker could not take them, the task goes to another."""
    try:
        return find_training_set(key)
    except MissingTrainingSetError:
        from distributed import Reschedule

        # It may come back, until the coordinator has sent this worker away.
        time.sleep(_PAUSE)
        raise Reschedule from None


def _grow_to_end(key: str, request: GrowthRequest) -> list[RungResult]:
    return grow_through(_rows_here(key), request, _name())


def _grow_on(key: str, request: GrowthRequest, before: OobSums | None) -> OobSums:
    return add_up(before, grow_chunks(_rows_here(key), request, request.chunks, _name()))


def _grow_part(key: str, request: GrowthRequest, part: int, parts: int) -> list[OobSums]:
    """Grow one of `parts` stretches of the chunks."""
    chunks, n = request.chunks, len(request.chunks)
    own = chunks[part * n // parts : (part + 1) * n // parts]
    return list(grow_chunks(_rows_here(key), request, own, _name()))


def _name() -> str:
    from distributed import get_worker

    return str(get_worker().name)


def _join(before: OobSums | None, parts: list[list[OobSums]]) -> OobSums:
    return add_up(before, chain.from_iterable(parts))


def _judge(key: str, request: GrowthRequest, sums: OobSums) -> list[RungResult]:
    return [evaluate_rung(sums, _rows_here(key), request.metric, request.incumbent)]


def _result(done: "Future[Any]") -> "list[RungResult] | Exception":
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

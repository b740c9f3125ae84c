"""Grows trees in this process, one trial after another, without starting workers."""

from concurrent.futures import Future
from typing import Any, Self

from search.forest.oob import RungResult
from search.forest.training_set import TrainingSet
from search.workers.base import (
    GrowthRequest,
    PendingGrowth,
    Workers,
    add_sums,
    grow_chunks,
    grow_through,
    score_rung,
)

_NAME = "0"


class InlineWorkers(Workers):
    """The calling thread: growing is finished when a call returns."""

    def __enter__(self) -> Self:
        return self

    def load(self, training_set: TrainingSet) -> None:
        """Keep the training set."""
        self._training_set = training_set

    def count(self) -> int:
        """Return 1."""
        return 1

    def present(self) -> int:
        """Return 1."""
        return 1

    def grow_to_end(self, request: GrowthRequest) -> PendingGrowth:
        """See `Workers`."""
        return self._deliver(
            request, lambda: (grow_through(self._training_set, request, _NAME), None)
        )

    def grow(
        self,
        request: GrowthRequest,
        before: PendingGrowth | None,
        parts: int = 1,  # noqa: ARG002 the work is never divided
    ) -> PendingGrowth:
        """See `Workers`."""

        def work() -> tuple[list[RungResult], Any]:
            chunks = grow_chunks(self._training_set, request, request.chunks, _NAME)
            sums = add_sums(before.sums.result() if before else None, chunks)
            return [score_rung(sums, self._training_set, request)], sums

        return self._deliver(request, work)

    def _deliver(self, request: GrowthRequest, work: Any) -> PendingGrowth:
        """Do the work and put its results, or its error, into `finished`."""
        results: list[RungResult] | Exception
        sums = None
        try:
            results, sums = work()
        except Exception as error:  # errors of a fit fail only this trial
            results = error
        growth = PendingGrowth(Future(), _completed(sums))
        self.finished.put((request.key, growth, results))
        return growth


def _completed(value: Any) -> "Future[Any]":
    """Return a future that has a result."""
    future: Future[Any] = Future()
    future.set_result(value)
    return future

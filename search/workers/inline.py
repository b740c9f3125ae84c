"""Trees grown in this process, one trial after another: no workers to start, nothing to send."""

from concurrent.futures import Future
from typing import Any, Self

from search.forest.oob import RungResult, evaluate_rung
from search.forest.training_set import TrainingSet
from search.workers.base import (
    GrowthRequest,
    PendingGrowth,
    Workers,
    add_up,
    grow_chunks,
    grow_through,
)

_NAME = "0"


class InlineWorkers(Workers):
    """This thread: what is ordered is grown when the call returns."""

    def __enter__(self) -> Self:
        return self

    def load(self, rows: TrainingSet) -> None:
        """Keep the rows."""
        self._rows = rows

    def count(self) -> int:
        """One."""
        return 1

    def present(self) -> int:
        """One."""
        return 1

    def grow_to_end(self, request: GrowthRequest) -> PendingGrowth:
        """See `Workers`."""
        return self._deliver(request, lambda: (grow_through(self._rows, request, _NAME), None))

    def grow(
        self,
        request: GrowthRequest,
        before: PendingGrowth | None,
        parts: int = 1,  # noqa: ARG002 the work is never divided
    ) -> PendingGrowth:
        """See `Workers`; one part is all there is."""

        def work() -> tuple[list[RungResult], Any]:
            grown = grow_chunks(self._rows, request, request.chunks, _NAME)
            sums = add_up(before.sums.result() if before else None, grown)
            return [evaluate_rung(sums, self._rows, request.metric, request.incumbent)], sums

        return self._deliver(request, work)

    def _deliver(self, request: GrowthRequest, work: Any) -> PendingGrowth:
        """Do it, and put what came of it where the coordinator looks."""
        result: list[RungResult] | Exception
        sums = None
        try:
            result, sums = work()
        except Exception as error:  # whatever a fit raises fails its trial only
            result = error
        growth = PendingGrowth(Future(), _done(sums))
        self.finished.put((request.key, growth, result))
        return growth


def _done(value: Any) -> "Future[Any]":
    future: Future[Any] = Future()
    future.set_result(value)
    return future

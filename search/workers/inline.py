"""Trees grown in this process, one trial after another: no workers to start, nothing to send."""

from concurrent.futures import Future
from typing import Any, Self

from search.forest.oob import Outcome, outcome
from search.forest.training_set import Rows
from search.workers.base import Growth, Order, Workers, add_up, grow_chunks, grow_through

_NAME = "0"


class InlineWorkers(Workers):
    """This thread: what is ordered is grown when the call returns."""

    def __enter__(self) -> Self:
        return self

    def load(self, rows: Rows) -> None:
        """Keep the rows."""
        self._rows = rows

    def count(self) -> int:
        """One."""
        return 1

    def present(self) -> int:
        """One."""
        return 1

    def grow_to_end(self, order: Order) -> Growth:
        """See `Workers`."""
        return self._deliver(order, lambda: (grow_through(self._rows, order, _NAME), None))

    def grow(self, order: Order, before: Growth | None, parts: int = 1) -> Growth:  # noqa: ARG002
        """See `Workers`; one part is all there is."""

        def work() -> tuple[list[Outcome], Any]:
            grown = grow_chunks(self._rows, order, order.chunks, _NAME)
            sums = add_up(before.sums.result() if before else None, grown)
            return [outcome(sums, self._rows, order.metric, order.rivals)], sums

        return self._deliver(order, work)

    def _deliver(self, order: Order, work: Any) -> Growth:
        """Do it, and put what came of it where the coordinator looks."""
        result: list[Outcome] | Exception
        sums = None
        try:
            result, sums = work()
        except Exception as error:  # whatever a fit raises fails its trial only
            result = error
        growth = Growth(Future(), _done(sums))
        self.finished.put((order.key, growth, result))
        return growth


def _done(value: Any) -> "Future[Any]":
    future: Future[Any] = Future()
    future.set_result(value)
    return future

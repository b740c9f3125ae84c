"""Trees grown by Dask workers, wherever they are."""

from itertools import chain
from typing import TYPE_CHECKING, Any

from search.errors import DeadlyTrialError
from search.rows import rows_at
from search.sums import OobSums, Outcome, outcome
from search.workers import Growth, Order, Workers, add_up, grow_chunks, grow_through

if TYPE_CHECKING:
    from distributed import Client, Future

# So many workers may die of a task; then its trial fails.
MOST_KILLED = 3


class DaskWorkers(Workers):
    """Dask workers; entered by its subclasses."""

    def __init__(self) -> None:
        super().__init__()
        self._client: Client
        # Under which workers find the training rows.
        self._rows = ""

    def grow_to_end(self, order: Order) -> Growth:
        """See `Workers`."""
        outcomes = self._client.submit(_grow_to_end, self._rows, order, pure=False)
        return self._deliver(order, outcomes)

    def grow(self, order: Order, before: Growth | None, parts: int = 1) -> Growth:
        """See `Workers`."""
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
        return self._deliver(order, outcomes, sums, pieces)

    def _deliver(
        self,
        order: Order,
        outcomes: "Future[Any]",
        sums: "Future[Any] | None" = None,
        parts: "tuple[Future[Any], ...]" = (),
    ) -> Growth:
        growth = Growth(outcomes, sums, parts)

        def deliver(done: "Future[Any]") -> None:
            # What a client that lost its scheduler cancels says nothing of the trial.
            if self._client.status == "running":
                self.finished.put((order.key, growth, _result(done)))

        # Called in a thread of Dask's, where fetching the outcomes keeps nobody waiting.
        outcomes.add_done_callback(deliver)
        return growth


def _grow_to_end(key: str, order: Order) -> list[Outcome]:
    return grow_through(rows_at(key), order, _name())


def _grow_on(key: str, order: Order, before: OobSums | None) -> OobSums:
    return add_up(before, grow_chunks(rows_at(key), order, order.chunks, _name()))


def _grow_part(key: str, order: Order, part: int, parts: int) -> list[OobSums]:
    """Grow one of `parts` stretches of the chunks."""
    chunks, n = order.chunks, len(order.chunks)
    own = chunks[part * n // parts : (part + 1) * n // parts]
    return list(grow_chunks(rows_at(key), order, own, _name()))


def _name() -> str:
    from distributed import get_worker

    return str(get_worker().name)


def _join(before: OobSums | None, parts: list[list[OobSums]]) -> OobSums:
    return add_up(before, chain.from_iterable(parts))


def _judge(key: str, order: Order, sums: OobSums) -> list[Outcome]:
    return [outcome(sums, rows_at(key), order.metric, order.rivals)]


def _result(done: "Future[Any]") -> "list[Outcome] | Exception":
    from concurrent.futures import CancelledError

    from distributed import KilledWorker

    try:
        result: list[Outcome] = done.result()
    except KilledWorker as error:
        killed = error.allowed_failures + 1
        return DeadlyTrialError(f"killed {killed} workers one after another: out of memory?")
    except (Exception, CancelledError) as error:
        return error
    return result

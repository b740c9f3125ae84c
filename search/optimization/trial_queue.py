"""What a study's next trial is: one to repeat, one of the first, or the sampler's to propose."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage.records import TrialRecord

_MOST_RETRIES = 3


@dataclass(frozen=True)
class Item:
    """What is known of a trial before it starts.

    Attributes
    ----------
    place
        Its place in the search.
    params
        Its hyperparameters; ``None`` where the sampler proposes them.
    repeats
        Number of the trial that it repeats.
    """

    place: int
    params: Mapping[str, Any] | None = None
    repeats: int | None = None


class TrialQueue:
    """Hands out trials to start, by their places in the search.

    Parameters
    ----------
    known
        The trials that the study has already; none is running.
    first
        Hyperparameters of the study's first trials.
    """

    def __init__(self, known: Sequence[TrialRecord], first: Sequence[Mapping[str, Any]]) -> None:
        self._failures = Counter(_failed_places(known))
        self._next = max((record.place for record in known), default=-1) + 1
        repeated = {record.repeats for record in known}
        lost = [r for r in known if _is_to_repeat(r) and r.number not in repeated]
        lost.sort(key=lambda record: record.place)
        self._items = deque(Item(r.place, r.params, r.number) for r in lost)
        for place in range(self._next, len(first)):
            self._items.append(Item(place, first[place]))
            self._next += 1

    def next(self) -> Item:
        """Return the next trial."""
        if self._items:
            return self._items.popleft()
        self._next += 1
        return Item(self._next - 1)

    def may_retry(self, place: int) -> bool:
        """Whether the trial of a place may fail once more and be tried again."""
        return self._failures[place] < _MOST_RETRIES

    def fail(self, record: TrialRecord) -> None:
        """Take a trial that failed; it is tried again unless it was given up."""
        self._failures[record.place] += 1
        if not record.given_up:
            self._items.append(Item(record.place, record.params, record.number))


def _is_to_repeat(record: TrialRecord) -> bool:
    return record.state == "FAIL" and not record.given_up


def _failed_places(known: Iterable[TrialRecord]) -> Iterable[int]:
    return (r.place for r in known if r.state == "FAIL" and not r.interrupted)

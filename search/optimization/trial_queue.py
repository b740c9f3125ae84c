"""Determines a study's next trial: a retry, an initial trial, or one that the sampler proposes."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage.records import TrialRecord

_MAX_RETRIES = 3


@dataclass(frozen=True)
class QueuedTrial:
    """A trial that has not started.

    Attributes
    ----------
    place
        Its place in the search; a retry has the place of the trial that it retries.
    params
        Its hyperparameters; ``None`` if the sampler proposes them.
    repeats
        Number of the trial that it retries; ``None`` if it is not a retry.
    """

    place: int
    params: Mapping[str, Any] | None = None
    repeats: int | None = None


class TrialQueue:
    """Returns the trials to start: first retries by their places, then initial and new trials.

    Parameters
    ----------
    known
        The trials that the study has; none of them is running.
    initial_params
        Hyperparameters of the study's initial trials.
    """

    def __init__(
        self, known: Sequence[TrialRecord], initial_params: Sequence[Mapping[str, Any]]
    ) -> None:
        self._failures = Counter(_places_of_failures(known))
        self._next_place = max((record.place for record in known), default=-1) + 1
        retried = {record.repeats for record in known}
        lost = [r for r in known if _needs_retry(r) and r.number not in retried]
        lost.sort(key=lambda record: record.place)
        self._queue = deque(QueuedTrial(r.place, r.params, r.number) for r in lost)
        for place in range(self._next_place, len(initial_params)):
            self._queue.append(QueuedTrial(place, initial_params[place]))
            self._next_place += 1

    def next(self) -> QueuedTrial:
        """Remove and return the next trial."""
        if self._queue:
            return self._queue.popleft()
        self._next_place += 1
        return QueuedTrial(self._next_place - 1)

    def may_retry(self, place: int) -> bool:
        """Whether the trial at a place will be retried if it fails once more."""
        return self._failures[place] < _MAX_RETRIES

    def fail(self, record: TrialRecord) -> None:
        """Count a failed trial, and queue its retry unless it was given up."""
        self._failures[record.place] += 1
        if not record.given_up:
            self._queue.append(QueuedTrial(record.place, record.params, record.number))


def _needs_retry(record: TrialRecord) -> bool:
    return record.state == "FAIL" and not record.given_up


def _places_of_failures(known: Iterable[TrialRecord]) -> Iterable[int]:
    """Yield the place of each failed trial; interruptions do not count as failures."""
    return (r.place for r in known if r.state == "FAIL" and not r.interrupted)

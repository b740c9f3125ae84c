"""A thread that writes the trials of a search to Optuna's database in the order of their numbers.

The search does not wait for the database: it queues the newest record of a trial and continues.
A trial that ends within a second is written in one transaction. A longer trial is visible in the
database as RUNNING while it runs. Trials are written in the order of their numbers because the
database assigns numbers in the order of insertion. Trials that a dying process had not written are
run again; the same seeds give the same results.
"""

import threading
from collections.abc import Callable, Mapping
from contextvars import copy_context
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from storage import database
from storage.errors import LeaseLostError
from storage.records import TrialRecord
from storage.studies.study import Study

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# Running trials younger than this are not written yet: most of them will end within this time and
# are then written in one transaction.
_YOUNG_SECONDS = 1.0
_ROUND = 0.1


class TrialWriter:
    """Writes records of trials; the newest record of a trial replaces older queued ones.

    Parameters
    ----------
    check
        Called before each write; raises if this process may no longer write.
    entered
        Called in the writer's thread with each record as it is in the database after the write.
    most_waiting
        Maximum number of queued trials. If the queue is full, the search waits for the database.
    """

    def __init__(
        self,
        study: Study,
        distributions: "Mapping[str, BaseDistribution]",
        check: Callable[[], None],
        entered: Callable[[TrialRecord], None],
        *,
        most_waiting: int = 256,
    ) -> None:
        self._study = study
        self._distributions = distributions
        self._check = check
        self._entered = entered
        self._most_waiting = most_waiting
        self._changed = threading.Condition()
        self._waiting: dict[int, TrialRecord] = {}
        self._writing: int | None = None
        self._closing = False
        self._error: Exception | None = None
        # The steps at which the database has scores, for each running trial.
        self._known: dict[int, set[int]] = {
            trial.number: set(trial.scores) for trial in study.trials() if trial.state == "RUNNING"
        }
        # The thread runs in the caller's context: its log records then belong to the same launch.
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name="trial-writer", daemon=True
        )
        self._thread.start()

    def put(self, record: TrialRecord) -> None:
        """Queue a trial's newest record; raise the error that stopped the writer, if any."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < self._most_waiting or self._error)
            if self._error is not None:
                raise self._error
            self._waiting[record.number] = record
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until all queued records are written; raise the error that stopped the writer."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._error or (not self._waiting and self._writing is None)
            )
            if self._error is not None:
                raise self._error

    def close(self) -> None:
        """Write the trials that have ended, then end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                record = self._next_due()
                if record is None:
                    if self._closing:
                        return
                    # A new record wakes the thread. A queued running trial becomes due without a
                    # notification, hence the timeout.
                    self._changed.wait(_ROUND if self._waiting else None)
                    continue
                del self._waiting[record.number]
                self._writing = record.number
                self._changed.notify_all()
            try:
                self._entered(self._write_with_retries(record))
            except Exception as error:
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                return
            with self._changed:
                self._writing = None
                self._changed.notify_all()

    def _next_due(self) -> TrialRecord | None:
        """Return the record with the lowest number, unless its trial has only just started."""
        if not self._waiting:
            return None
        record = self._waiting[min(self._waiting)]
        if record.state == "RUNNING" and record.number not in self._known:
            age = datetime.now(UTC) - (record.started or datetime.now(UTC))
            if age.total_seconds() < _YOUNG_SECONDS and not self._delays_closing():
                return None
        return record

    def _delays_closing(self) -> bool:
        """Return whether, at closing, a young trial delays later trials that have ended."""
        return self._closing and any(later.state != "RUNNING" for later in self._waiting.values())

    def _write_with_retries(self, record: TrialRecord) -> TrialRecord:
        """Write a record; retry while the database fails temporarily."""
        from optuna.exceptions import UpdateFinishedTrialError

        again = False

        def write() -> TrialRecord:
            nonlocal again
            self._check()
            try:
                return self._write(record, again)
            finally:
                again = True

        try:
            return database.retry_write(write, self._study.book.url, lambda: self._closing)
        except UpdateFinishedTrialError:
            raise self._overtaken(record) from None

    def _write(self, record: TrialRecord, again: bool) -> TrialRecord:
        """Write the difference between the record and the database."""
        known = self._known.get(record.number)
        # The database may have carried out a failed attempt, so a retry reads the trial first.
        there = self._study.find_trial(record.number) if again else None
        if there is not None:
            if there.state != "RUNNING":
                return there
            known = set(there.scores)
        if known is None:
            written = self._study.enter_trial(record, self._distributions)
            if written.number != record.number:
                raise self._overtaken(record)
            known = set(record.scores)
        else:
            for step, score in record.scores.items():
                if step not in known:
                    self._study.report(record.number, step, score)
                    known.add(step)
            written = record
            if record.state != "RUNNING":
                written = self._study.end_trial(record)
        if record.state == "RUNNING":
            self._known[record.number] = known
        else:
            self._known.pop(record.number, None)
        return written

    def _overtaken(self, record: TrialRecord) -> LeaseLostError:
        return LeaseLostError(
            f"study {self._study.name}: somebody else wrote trial {record.number}; this process "
            f"has stopped writing (see `grovekeeper show {self._study.name}`)"
        )

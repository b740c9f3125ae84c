"""The ledger: a thread that enters what the search decides into Optuna's database, in order.

The search need not wait for the database: it hands over the newest record of a trial and goes on.
A trial that ended within a second is entered whole, in one transaction; a longer one is there,
RUNNING, while it runs. They are entered in the order of their numbers, which the database gives by
that order. What a dying process had not entered yet is grown again: from the same seeds it comes
out the same.
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

# More trials than this are not kept waiting: the search then waits for the database.
_MOST_WAITING = 256
# Running trials younger than this are not entered yet: most will be entered whole.
_YOUNG_SECONDS = 1.0
_ROUND = 0.1


class TrialWriter:
    """Enters records of trials, one trial's newest in place of its older ones.

    Parameters
    ----------
    check
        Called before each write; raises where this process may no longer write.
    entered
        Called, in the ledger's thread, with each record as it now stands in the database.
    """

    def __init__(
        self,
        study: Study,
        distributions: "Mapping[str, BaseDistribution]",
        check: Callable[[], None],
        entered: Callable[[TrialRecord], None],
    ) -> None:
        self._study = study
        self._distributions = distributions
        self._check = check
        self._entered = entered
        self._changed = threading.Condition()
        self._waiting: dict[int, TrialRecord] = {}
        self._writing: int | None = None
        self._closing = False
        self._error: Exception | None = None
        # Of trials that run: the steps at which the database has their scores.
        self._known: dict[int, set[int]] = {
            trial.number: set(trial.scores) for trial in study.trials() if trial.state == "RUNNING"
        }
        # The thread's log records belong to the launch that this is called in.
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name="ledger", daemon=True
        )
        self._thread.start()

    def put(self, record: TrialRecord) -> None:
        """Take over a trial's newest record; raise what keeps the ledger from being written."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < _MOST_WAITING or self._error)
            if self._error is not None:
                raise self._error
            self._waiting[record.number] = record
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until everything is entered; raise what keeps it from being."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._error or (not self._waiting and self._writing is None)
            )
            if self._error is not None:
                raise self._error

    def close(self) -> None:
        """End the thread, after what has ended is entered."""
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
                    # Woken by what is new; what runs becomes due with time alone.
                    self._changed.wait(_ROUND if self._waiting else None)
                    continue
                del self._waiting[record.number]
                self._writing = record.number
                self._changed.notify_all()
            try:
                self._entered(self._write_patiently(record))
            except Exception as error:
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                return
            with self._changed:
                self._writing = None
                self._changed.notify_all()

    def _next_due(self) -> TrialRecord | None:
        """Return the lowest-numbered record, unless its trial may still end in this second."""
        if not self._waiting:
            return None
        record = self._waiting[min(self._waiting)]
        if record.state == "RUNNING" and record.number not in self._known:
            age = datetime.now(UTC) - (record.started or datetime.now(UTC))
            if age.total_seconds() < _YOUNG_SECONDS and not self._holds_up_at_closing():
                return None
        return record

    def _holds_up_at_closing(self) -> bool:
        """Whether a young trial is entered at once, for those behind it that have ended."""
        return self._closing and any(later.state != "RUNNING" for later in self._waiting.values())

    def _write_patiently(self, record: TrialRecord) -> TrialRecord:
        """Write a record, again and again where the database stumbles."""
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
        """Enter the difference between the record and what the database has."""
        known = self._known.get(record.number)
        # An attempt that seemed to fail may have been carried out all the same.
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

"""A thread that keeps the MLflow mirror up to date while the search continues.

The thread holds the newest record of each trial that MLflow does not show yet. Its memory is
therefore bounded by the number of trials, it writes several changes of a trial at once, and an
outage of MLflow only delays the writes.
"""

import threading
import time
from collections.abc import Callable
from contextvars import copy_context

from storage.errors import DatabaseError, LeaseLostError, PermanentError
from storage.records import StudyRecord, TrialRecord
from storage.tracking.failures import explain
from storage.tracking.mirror import Mirror

# Seconds between two rounds. The changes of one round are written together.
_ROUND = 1.0
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_POLL_INTERVAL = 0.1


class MirrorWriter:
    """Writes records to a `Mirror` in a separate thread.

    `put_trial` and `put_study` queue changed records, the first `put_study` starts the writing, and
    `close` waits for the remaining records. MLflow takes a second to import, so it is imported only
    when there is a record to write or when a caller waits for the store.
    """

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror
        self._changed = threading.Condition()
        self._wanted = False
        self._connected = threading.Event()
        self._adopted = threading.Event()
        self._trials: dict[int, TrialRecord] = {}
        self._study: StudyRecord | None = None
        self._study_is_new = False
        self._writing = False
        self._closing = False
        # The number of callers that wait. While there are any, rounds follow without a pause.
        self._waiters = 0
        self._failure: Exception | None = None
        self._check: Callable[[], None] = lambda: None
        # The thread runs in the caller's context: its log records then belong to the same launch.
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name="mirror-writer", daemon=True
        )
        self._thread.start()

    @property
    def behind(self) -> int:
        """Number of runs, including the study's, whose newest record MLflow does not show yet."""
        with self._changed:
            return len(self._trials) + self._study_is_new

    @property
    def failure(self) -> DatabaseError | None:
        """Error of the last attempt; ``None`` if it succeeded."""
        error = self._failure
        return None if error is None else explain(self.mirror.tracking_uri, error)

    def guard(self, check: Callable[[], None]) -> None:
        """Call `check` before each write; a `LeaseLostError` from it ends all writing."""
        self._check = check

    def wait_connected(self) -> None:
        """Wait until the store is open; raise `DatabaseError` if it cannot be opened."""
        with self._changed:
            self._wanted = True
            self._changed.notify()
        self._connected.wait()
        failure = self.failure  # read once: the thread may succeed in the meantime
        if failure:
            self.close()
            raise failure

    def wait_adopted(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the study's run; return whether it exists.

        The wait ends early after an error that no retry can mend.
        """
        deadline = time.monotonic() + timeout
        while not self._adopted.wait(_POLL_INTERVAL):
            if time.monotonic() > deadline or isinstance(self.failure, PermanentError):
                return False
        return True

    def put_trial(self, record: TrialRecord) -> None:
        """Queue the newest record of a trial."""
        with self._changed:
            self._trials[record.number] = record
            self._changed.notify()

    def put_study(self, record: StudyRecord) -> None:
        """Queue the newest record of the study; the first one starts the writing."""
        with self._changed:
            self._study = record
            self._study_is_new = True
            self._changed.notify()

    def wait_level(self, timeout: float, *, steadily: bool = False) -> bool:
        """Wait up to `timeout` seconds until MLflow shows everything; return whether it does.

        Parameters
        ----------
        steadily
            Restart the timeout whenever a record has been written.
        """
        deadline, behind = time.monotonic() + timeout, self.behind
        with self._changed:
            self._waiters += 1
            self._changed.notify_all()
            try:
                while self._pending() or self._writing:
                    if steadily and self.behind < behind:
                        behind, deadline = self.behind, time.monotonic() + timeout
                    left = deadline - time.monotonic()
                    if left <= 0 or not self._thread.is_alive():
                        return False
                    self._changed.wait(min(left, 0.1))
            finally:
                self._waiters -= 1
        return True

    def close(self, timeout: float = 0.0) -> bool:
        """Wait like `wait_level`, then end the thread, which starts no other run."""
        level = self.wait_level(timeout)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout=1.0 if not level else None)
        return level

    def _pending(self) -> bool:
        return bool(self._trials) or self._study_is_new

    def _is_due(self) -> bool:
        """Whether the study is known and there is a record to write."""
        return self._study is not None and self._pending()

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._closing:
            try:
                self._step()
            except LeaseLostError as error:
                self._failure = error
                return
            except Exception as error:
                self._failure = error
                self._connected.set()
                self._rest(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                self._failure = None
                pause = _FIRST_PAUSE

    def _rest(self, pause: float) -> None:
        """Wait before the next attempt; wait less if a caller waits or starts to wait."""
        with self._changed:
            self._writing = False
            waiters = self._waiters
            self._changed.wait_for(
                lambda: self._closing or self._waiters > waiters,
                min(pause, _FIRST_PAUSE) if waiters else pause,
            )

    def _step(self) -> None:
        """Connect, adopt the study and write the pending records; a retry repeats all of it."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._wanted or self._is_due())
            if self._closing:
                return
        if not self._connected.is_set() or (self._failure and not self._adopted.is_set()):
            self.mirror.connect()
            self._connected.set()
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._is_due())
            if self._closing or self._study is None:
                return
            study = self._study
            trials = sorted(self._trials.values(), key=lambda record: record.number)
            self._writing = True
        try:
            self._check()
            if not self._adopted.is_set():
                self.mirror.adopt(study)
                self._adopted.set()
            elif self._failure is not None:  # what is written to may have been deleted
                self.mirror.check_active()
            for trial in trials:
                if self._closing:
                    return
                self._check()
                self.mirror.write_trial(trial)
                with self._changed:
                    if self._trials.get(trial.number) is trial:
                        del self._trials[trial.number]
            self._check()
            self.mirror.write_study(study)
        finally:
            with self._changed:
                self._writing = False
        with self._changed:
            if self._study is study:
                self._study_is_new = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closing or self._waiters > 0, _ROUND)

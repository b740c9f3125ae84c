"""The lease that makes one process a study's coordinator, stored beside the study in its database.

The lease is taken and renewed by compare-and-swap on the database's clock, so that hosts need not
agree on the time. Every new holder increments the epoch: a process that finds another epoch in the
row has lost the lease. The epoch is also a fencing token: every transaction of the holder checks it
before the commit, so that a process that was suspended for longer than its lease writes nothing
after it resumes, wherever it was suspended.
"""

import os
import threading
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import NoReturn, Self

from storage.errors import DatabaseError, LeaseLostError, StudyBusyError
from storage.host import this_host, this_user
from storage.leases.store import DURATION, Holder, Leases
from storage.redaction import cause_of

RENEW_EVERY = 5.0


def _clock() -> float:
    """Return a monotonic time in seconds that, on Linux, also counts while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease:
    """Context manager that acquires a lease, renews it in the background and releases it.

    Raises
    ------
    StudyBusyError
        On entering, when a coordinator that is alive holds the lease.
    LeaseLostError
        From `check`, and from every write to the database, after another process took the lease.
    """

    def __init__(self, leases: Leases, study: str) -> None:
        self._leases = leases
        self._study = study
        self._epoch = 0
        # Before this time, on this machine's clock, no other process can have taken the lease.
        self._valid_until = 0.0
        self._lost = threading.Event()
        self._released = threading.Event()
        self._fencing = ExitStack()
        self._thread = threading.Thread(target=self._renew_regularly, name="lease", daemon=True)

    @property
    def epoch(self) -> int:
        """Number of this coordinator among the study's; every new coordinator has a larger one."""
        return self._epoch

    def __enter__(self) -> Self:
        self._acquire()
        self._fencing.enter_context(self._leases.fence(self._study, self._epoch, self._mark_lost))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        from sqlalchemy.exc import SQLAlchemyError

        self._released.set()
        self._thread.join()
        self._lost.set()  # threads that still call `check` must not write any more
        # If the database is gone, the lease expires by itself, and the cause was already reported.
        with suppress(SQLAlchemyError, OSError):
            self._fencing.close()
            self._leases.release(self._study, self._epoch)

    def check(self) -> None:
        """Make sure that the lease is held, before writing to a system other than the database.

        Raises
        ------
        LeaseLostError
            When another coordinator has taken over.
        DatabaseError
            When the lease has expired and the database does not answer.
        """
        from sqlalchemy.exc import SQLAlchemyError

        if not self._lost.is_set() and _clock() >= self._valid_until:
            try:
                self._renew()  # we were suspended or disconnected: is the lease still ours?
            except SQLAlchemyError as error:
                cause = cause_of(error)
                msg = f"the database of study {self._study} does not answer: {cause}"
                raise DatabaseError(msg) from error
        if self._lost.is_set():
            raise self._lost_error()

    def _lost_error(self) -> LeaseLostError:
        return LeaseLostError(
            f"study {self._study}: the lease was lost to another coordinator; "
            f"this one has stopped writing (see `grovekeeper show {self._study}`)"
        )

    def _mark_lost(self) -> NoReturn:
        self._lost.set()
        raise self._lost_error()

    def _acquire(self) -> None:
        self._leases.prepare(self._study)
        # A process that takes the lease after this read changes the epoch, and `take` fails.
        known = self._leases.read(self._study)
        if known is None:
            self._raise_just_taken()
        if known.alive:
            since = datetime.fromtimestamp(known.acquired, UTC).astimezone()
            msg = (
                f"study {self._study} is run by {known.owner} on {known.host} "
                f"(process {known.pid}) since {since:%Y-%m-%d %H:%M:%S}: watch it with "
                f"`grovekeeper show {self._study}`, end it with `grovekeeper stop {self._study}`"
            )
            raise StudyBusyError(msg)
        before = _clock()
        holder = Holder(this_user(), this_host(), os.getpid())
        if not self._leases.take(self._study, known.epoch, holder):
            self._raise_just_taken()
        self._epoch = known.epoch + 1
        self._valid_until = before + DURATION

    def _raise_just_taken(self) -> NoReturn:
        msg = f"study {self._study} has just been taken by another coordinator"
        raise StudyBusyError(msg)

    def _renew_regularly(self) -> None:
        from sqlalchemy.exc import SQLAlchemyError

        while not self._released.wait(RENEW_EVERY) and not self._lost.is_set():
            # After a failed renewal the lease stays valid until it expires; `check` tries it then.
            with suppress(SQLAlchemyError, OSError):
                self._renew()

    def _renew(self) -> None:
        """Renew the lease, or mark it as lost; raise if the database does not answer."""
        before = _clock()
        try:
            renewed = self._leases.renew(self._study, self._epoch)
        except LeaseLostError:  # raised by the check before the commit, which marked it as lost
            return
        if renewed:
            self._valid_until = before + DURATION
        else:
            self._lost.set()

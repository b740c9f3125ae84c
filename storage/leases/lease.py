"""The lease that makes one process a study's coordinator, kept beside the study in its database.

Taken and renewed by compare-and-swap on the database's clock, so that hosts need not agree on the
time. The epoch grows with every holder: whoever finds another epoch in the row has lost the lease.
It also fences: while a lease is held, nothing is written from here under another epoch, so that a
process which was frozen past its lease writes nothing more, wherever it was frozen.
"""

import os
import threading
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import NoReturn, Self

from storage.errors import DatabaseError, LeaseLostError, StudyBusyError, driver_said
from storage.host import this_host, this_user
from storage.leases.store import DURATION, Holder, Leases

RENEW_EVERY = 5.0


def _clock() -> float:
    """Seconds that also pass while the machine sleeps, where the system counts them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease:
    """A held lease; a context manager that renews it in the background and gives it back.

    Raises
    ------
    StudyBusyError
        On entering, when a living coordinator holds the lease.
    LeaseLostError
        From `check`, and from all that is written to the database, once the lease is another's.
    """

    def __init__(self, leases: Leases, study: str) -> None:
        self._leases = leases
        self._study = study
        self._epoch = 0
        # Until then, on this machine's clock, nobody else can have taken it.
        self._good_until = 0.0
        self._lost = threading.Event()
        self._released = threading.Event()
        self._fencing = ExitStack()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    @property
    def epoch(self) -> int:
        """Which of the study's coordinators this one is; each has a greater number."""
        return self._epoch

    def __enter__(self) -> Self:
        self._acquire()
        self._fencing.enter_context(self._leases.fence(self._study, self._epoch, self._be_lost))
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
        self._lost.set()  # whoever still has it to check is to write nothing more
        # Where the database is gone the lease runs out by itself; what went wrong is told already.
        with suppress(SQLAlchemyError, OSError):
            self._fencing.close()
            self._leases.release(self._study, self._epoch)

    def check(self) -> None:
        """Make sure that the lease is held, before something is written elsewhere.

        Raises
        ------
        LeaseLostError
            When another coordinator has taken over.
        DatabaseError
            When it has run out and the database does not tell whether another has it.
        """
        from sqlalchemy.exc import SQLAlchemyError

        if not self._lost.is_set() and _clock() >= self._good_until:
            try:
                self._renew()  # frozen, or cut off from the database: is it still ours?
            except SQLAlchemyError as error:
                cause = driver_said(error)
                msg = f"the database of study {self._study} does not answer: {cause}"
                raise DatabaseError(msg) from error
        if self._lost.is_set():
            raise self._lost_error()

    def _lost_error(self) -> LeaseLostError:
        return LeaseLostError(
            f"study {self._study}: the lease was lost to another coordinator; "
            f"this one has stopped writing (see `grovekeeper show {self._study}`)"
        )

    def _be_lost(self) -> NoReturn:
        self._lost.set()
        raise self._lost_error()

    def _acquire(self) -> None:
        self._leases.prepare(self._study)
        # Judged and swapped by one reading: who takes it in between has another epoch.
        known = self._leases.read(self._study)
        if known is None:
            self._raise_overtaken()
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
            self._raise_overtaken()
        self._epoch = known.epoch + 1
        self._good_until = before + DURATION

    def _raise_overtaken(self) -> NoReturn:
        msg = f"study {self._study} has just been taken by another coordinator"
        raise StudyBusyError(msg)

    def _keep(self) -> None:
        from sqlalchemy.exc import SQLAlchemyError

        while not self._released.wait(RENEW_EVERY) and not self._lost.is_set():
            # Where the database stumbles the lease still runs; once it has run out, `check` asks.
            with suppress(SQLAlchemyError, OSError):
                self._renew()

    def _renew(self) -> None:
        """Renew the lease, or find that it is lost; raise where the database does not tell."""
        before = _clock()
        try:
            renewed = self._leases.renew(self._study, self._epoch)
        except LeaseLostError:  # by the fence
            return
        if renewed:
            self._good_until = before + DURATION
        else:
            self._lost.set()

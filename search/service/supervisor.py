"""Watches stop requests, lost workers and a mirror that is behind while a search runs."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress

from search.monitoring.observer import Observer, StopSource
from search.monitoring.status import SearchStatus
from search.report.summary import summarize
from search.study.notes import GrowingNote, MirrorNote, StudyNotes
from search.workers.base import Workers
from storage.studies.study import Study

_logger = logging.getLogger(__name__)

# Seconds between two checks of database and workers, and between two notes on the mirror.
_CHECK_INTERVAL = 1.0
_NOTE_INTERVAL = 5.0


class Supervisor:
    """Decides whether a search should stop; `should_stop` is called several times a second.

    Parameters
    ----------
    epoch
        The coordinator's epoch: a stop request for another epoch is ignored.
    stop
        Another source of stop requests, such as signals.
    status
        Updated with the number of workers, and with the trials that grow.
    mirror
        Returns the state of the mirror, which is noted in the database with the number of workers.

    Attributes
    ----------
    growing
        Returns the trials that grow now.
    stop_requested
        Whether a stop was requested through the database.
    """

    def __init__(
        self,
        study: Study,
        epoch: int,
        workers: Workers,
        stop: StopSource,
        observer: Observer,
        status: SearchStatus,
        mirror: Callable[[], MirrorNote],
    ) -> None:
        self.growing: Callable[[], list[GrowingNote]] = list
        self.stop_requested = False
        self._study = study
        self._epoch = epoch
        self._workers = workers
        self._stop = stop
        self._observer = observer
        self._status = status
        self._mirror = mirror
        self._checked = self._noted = time.monotonic()
        self._without_workers = False
        self._workers_noted: int | None = None
        self._growing_noted: list[GrowingNote] = []
        self._is_mirrored = False

    def should_stop(self) -> bool:
        """Return whether the search should end; check database and workers once a second."""
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        now = time.monotonic()
        if now - self._checked >= _CHECK_INTERVAL:
            self._checked = now
            self._count_workers()
            self._status.growing = self.growing()
            self._observer.changed()
            # If the database fails for a moment, or the scheduler that serves it ends, the trial
            # writer retries and reports it.
            with suppress(StorageInternalError, SQLAlchemyError, ConnectionError):
                self._check_database(now)
        return self.stop_requested or self._stop.requested()

    def _count_workers(self) -> None:
        self._status.workers = self._workers.present()
        without_workers = self._status.workers == 0
        if without_workers != self._without_workers:
            self._without_workers = without_workers
            if without_workers:
                _logger.warning("no worker is left: waiting for one")
            else:
                _logger.info("a worker is back: continuing")

    def _check_database(self, now: float) -> None:
        self.stop_requested |= self._study.is_asked_to_stop(self._epoch)
        mirror = self._mirror()
        # Set after the write: a write that fails is repeated at the next check.
        workers = self._status.workers
        if workers != self._workers_noted:
            self._study.write(StudyNotes(workers=workers))
            self._workers_noted = workers
        appears = not self._is_mirrored and mirror.run_id is not None
        if appears or now - self._noted >= _NOTE_INTERVAL:
            self._study.write(StudyNotes(mirror=mirror))
            growing = self._status.growing
            if growing != self._growing_noted:
                self._study.write(StudyNotes(growing=growing))
                self._growing_noted = growing
            self._noted = now
        if appears:
            self._observer.mirrored(summarize(self._study).model_dump())
            self._is_mirrored = True

"""What a search attends to beside its trials: requests to stop, lost workers, a late mirror."""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from search.monitoring.observer import Observer, StopRequest
from search.monitoring.status import SearchStatus
from search.report.summary import summarize
from search.workers.base import Workers
from storage.studies.study import Study

_logger = logging.getLogger(__name__)

# Seconds between two looks at the database and the workers, and between two notes on the mirror.
_LOOK_EVERY = 1.0
_NOTE_EVERY = 5.0


class Supervisor:
    """Called several times a second while trees grow; `stop_asked` ends the search.

    Parameters
    ----------
    epoch
        The coordinator's, to tell a request to stop from one that was another's.
    signals
        Who else may ask for an early end.
    standing
        Told how many workers there are.
    mirror
        How far the mirror has come, to be noted in the database, as the number of workers is.

    Attributes
    ----------
    by_request
        Whether somebody asked for the end through the database.
    """

    def __init__(
        self,
        study: Study,
        epoch: int,
        workers: Workers,
        signals: StopRequest,
        observer: Observer,
        status: SearchStatus,
        mirror: Callable[[], Mapping[str, Any]],
    ) -> None:
        self.by_request = False
        self._study = study
        self._epoch = epoch
        self._workers = workers
        self._signals = signals
        self._observer = observer
        self._status = status
        self._mirror = mirror
        self._looked = self._noted = time.monotonic()
        self._alone = False
        self._workers_noted: int | None = None
        self._shown = False

    def stop_asked(self) -> bool:
        """Look around, and return whether the search is to end."""
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        now = time.monotonic()
        if now - self._looked >= _LOOK_EVERY:
            self._looked = now
            self._count_workers()
            # Where the database stumbles, the ledger waits for it and says so.
            with suppress(StorageInternalError, SQLAlchemyError):
                self._look_up(now)
        return self.by_request or self._signals.requested()

    def _count_workers(self) -> None:
        self._status.workers = self._workers.present()
        alone = self._status.workers == 0
        if alone != self._alone:
            self._alone = alone
            if alone:
                _logger.warning("no worker is left: waiting for one")
            else:
                _logger.info("a worker is back: going on")

    def _look_up(self, now: float) -> None:
        self.by_request |= self._study.is_asked_to_stop(self._epoch)
        mirror = self._mirror()
        # Noted as done when it is: the database may stumble.
        workers = self._status.workers
        if workers != self._workers_noted:
            self._study.put("workers", workers)
            self._workers_noted = workers
        appears = not self._shown and mirror["run_id"] is not None
        if appears or now - self._noted >= _NOTE_EVERY:
            self._study.put("mirror", mirror)
            self._noted = now
        if appears:
            self._observer.shown(summarize(self._study))
            self._shown = True

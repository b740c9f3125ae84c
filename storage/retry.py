"""Trying again where a database stumbles: locked, restarted, full for a moment."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from storage.errors import DatabaseError, driver_said
from storage.redaction import redact

T = TypeVar("T")

_logger = logging.getLogger(__name__)

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
# Seconds for which a database may stumble.
PATIENCE = 60.0
# Seconds after which a warning is logged.
_UNNOTICED = 2.0


def retry(
    act: Callable[[bool], T],
    url: str,
    hurried: Callable[[], bool] = lambda: False,
) -> T:
    """Return what `act` returns, once it gets through.

    Parameters
    ----------
    act
        Told whether it is tried again: what seemed to fail may have been carried out all the same.
    url
        The database's address, for error messages and for the warning that is logged once when
        the retries take longer than two seconds.
    hurried
        Whether nobody waits any longer: then the next failure is the last.

    Raises
    ------
    DatabaseError
        After a minute in which the database did not recover.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    began, pause, again, warned = time.monotonic(), _FIRST_PAUSE, False, False
    while True:
        try:
            return act(again)
        except (StorageInternalError, SQLAlchemyError, DatabaseError) as error:
            lasts = time.monotonic() - began
            if lasts > PATIENCE or hurried():
                raise _broken(url, error) from error
            if lasts > _UNNOTICED and not warned:
                warned = True
                _logger.warning("cannot write to %s: %s; trying again", redact(url), _cause(error))
        except OSError as error:  # a scheduler that served it is gone, and with it our cluster
            raise _broken(url, error) from error
        again = True
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _broken(url: str, error: Exception) -> DatabaseError:
    return DatabaseError(
        f"cannot write to {redact(url)}: {_cause(error)}. What was entered is safe: when "
        "the database is well, the same launch goes on"
    )


def _cause(error: Exception) -> str:
    return driver_said(error.__cause__ or error)

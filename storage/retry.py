"""Retries: calls a function again while it raises errors that may pass."""

import logging
import math
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_logger = logging.getLogger(__name__)

# Seconds after which a warning is logged.
_WARN_AFTER = 2.0


def retry(
    act: Callable[[], T],
    errors: tuple[type[Exception], ...],
    *,
    timeout: float = math.inf,
    attempts: float = math.inf,
    first_pause: float = 0.2,
    longest_pause: float = 5.0,
    give_up: Callable[[Exception], bool] = lambda _: False,
    describe: Callable[[Exception], str] | None = None,
) -> T:
    """Return what `act` returns, calling it again while it raises one of `errors`.

    An attempt that raised may have been carried out all the same: `act` must be idempotent, or find
    that out itself.

    Parameters
    ----------
    timeout
        Seconds after which no new attempt is made.
    attempts
        Largest number of attempts.
    first_pause, longest_pause
        Seconds between two attempts: the first pause, which doubles up to the longest.
    give_up
        Whether an error ends the attempts.
    describe
        Text of the warning that is logged once when the attempts take longer than two seconds;
        default: none is logged.

    Raises
    ------
    Exception
        The error of the last attempt.
    """
    began, attempt, pause, warned = time.monotonic(), 1, first_pause, False
    while True:
        try:
            return act()
        except errors as error:
            lasts = time.monotonic() - began
            if lasts > timeout or attempt >= attempts or give_up(error):
                raise
            if describe is not None and lasts > _WARN_AFTER and not warned:
                warned = True
                _logger.warning("%s; trying again", describe(error), extra={"cause": error})
        time.sleep(pause)
        attempt += 1
        pause = min(2 * pause, longest_pause)

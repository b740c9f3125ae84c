"""Connections to a Dask scheduler."""

import logging
from typing import TYPE_CHECKING

from storage.errors import SchedulerError
from storage.redaction import cause_of

if TYPE_CHECKING:
    from distributed import Client


def connect(address: str, timeout: float = 8.0) -> "Client":
    """Connect to a scheduler.

    Parameters
    ----------
    timeout
        Seconds for the scheduler to answer, now and after the connection was lost.

    Raises
    ------
    SchedulerError
        If no scheduler answers in time.
    """
    from distributed import Client

    silence()
    try:
        return Client(address, timeout=timeout, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        reason = cause_of(error)
        raise SchedulerError(
            f"no Dask scheduler answers at {address} ({reason}): start one with "
            "`dask scheduler`, or leave --scheduler out to grow on this machine"
        ) from error


def silence() -> None:
    """Keep Dask from logging lost connections: this project reports those that matter."""
    for name in ("client", "batched"):
        logging.getLogger(f"distributed.{name}").setLevel(logging.CRITICAL)

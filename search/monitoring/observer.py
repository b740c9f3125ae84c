"""Interfaces of a launch to its caller: what it reports while it runs, and how it is stopped."""

from collections.abc import Mapping
from typing import Any, Protocol

from search.monitoring.status import SearchStatus


class Observer(Protocol):
    """Receives the progress of a launch; its messages are log records."""

    def begin(self, status: SearchStatus) -> None:
        """Take the status of a search that begins; it is kept up to date until the launch ends."""

    def changed(self) -> None:
        """React to a change of a trial, which is in the status already."""

    def mirrored(self, summary: Mapping[str, Any]) -> None:
        """Take the study's summary, as JSON has it, once MLflow has the study's run."""

    def end(self) -> None:
        """React to the end of the launch."""


class StopSource(Protocol):
    """Asks a search to end early.

    Attributes
    ----------
    polled
        Set by the launch while it calls `requested` several times a second.
    """

    polled: bool

    def requested(self) -> bool:
        """Whether the search should end."""


class NeverStops:
    """Never asks a search to end: callers of the Python interface raise an exception instead."""

    polled = False

    def requested(self) -> bool:
        """Return ``False``."""
        return False

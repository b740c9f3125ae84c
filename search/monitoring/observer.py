"""Who is told what a launch does, and who may ask it to stop: the command line, or a caller."""

from collections.abc import Mapping
from typing import Any, Protocol

from search.monitoring.status import SearchStatus


class Observer(Protocol):
    """Who is told what happens while it happens."""

    def begin(self, status: SearchStatus) -> None:
        """The search begins; how it stands is kept up to date until the launch ends."""

    def changed(self) -> None:
        """A trial has changed, and the standing with it."""

    def shown(self, summary: Mapping[str, Any]) -> None:
        """The study's run stands in MLflow; the summary is what `grovekeeper show` prints."""

    def end(self) -> None:
        """The launch has ended, and with it what it told."""


class StopRequest(Protocol):
    """Who may ask for an early end."""

    patient: bool

    def requested(self) -> bool:
        """Whether the search is to end. Asked only while `patient` is set."""


class Unstopped:
    """Nobody asks from here: a stop is asked for through the database, or by an exception."""

    patient = False

    def requested(self) -> bool:
        """Never."""
        return False

"""Handling of SIGINT and SIGTERM: the first requests a clean stop, the second stops at once."""

import signal
from types import FrameType, TracebackType
from typing import Any, Self


class Stopped(BaseException):
    """The user stopped the command. The exit code is 128 plus the number of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


class StopSignals:
    """Context manager that turns the two signals into a request to stop.

    A search polls `requested` and sets `polled` while it does. If `polled` is false, or at the
    second signal, `Stopped` is raised in the main thread.
    """

    def __init__(self) -> None:
        self.number = 0
        self.polled = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def requested(self) -> bool:
        """Whether a stop was requested."""
        return self.number != 0

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        again, self.number = self.number != 0, number
        if again or not self.polled:
            raise Stopped(number)

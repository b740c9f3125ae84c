"""Handling of SIGINT, SIGTERM and SIGHUP.

The first signal requests a clean stop, and the second one stops at once. A terminal sends SIGHUP
when it is closed. `nohup` ignores it, and so does this module then.
"""

import os
import signal
from types import FrameType, TracebackType
from typing import Any, Self

# Standard input, output and error.
_STREAMS = (0, 1, 2)


class Stopped(BaseException):
    """The user stopped the command. The exit code is 128 plus the number of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


class StopSignals:
    """Context manager that turns the signals into a request to stop.

    A search polls `requested` and sets `polled` while it does. If `polled` is false, or at the
    second signal, `Stopped` is raised in the main thread.
    """

    def __init__(self) -> None:
        self.number = 0
        self.polled = False
        self._before: dict[int, Any] = {}
        self._terminals: list[int] = []

    def __enter__(self) -> Self:
        self._terminals = [stream for stream in _STREAMS if os.isatty(stream)]
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
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
        if number == signal.SIGHUP:
            self._leave_terminal()
        again, self.number = self.number != 0, number
        if again or not self.polled:
            raise Stopped(number)

    def _leave_terminal(self) -> None:
        """Discard what is printed to a closed terminal, where every write is an error."""
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in self._terminals:
            os.dup2(nothing, stream)
        os.close(nothing)

"""Display of a search on stderr: a live panel on a terminal, otherwise a line now and then."""

import logging
import math
import os
import sys
import time
import traceback
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from search.formatting import visible
from search.monitoring.messages import messages_to
from search.monitoring.status import SEARCHING, SearchStatus
from storage.redaction import redact_text

if TYPE_CHECKING:
    from collections.abc import Mapping

_logger = logging.getLogger(__name__)

# Seconds without a line, after which one shows how far trials or the champion have grown.
_LONGEST_SILENCE = 30.0
# Seconds between two lines, and the number of lines a study has at least.
_LINE_INTERVAL = 10.0
_LINES_PER_STUDY = 5
_REFRESHES_PER_SECOND = 4


class Display:
    """Shows the progress of a search, and within a `with` block this project's log messages.

    Parameters
    ----------
    quiet
        Show nothing.
    debug
        Show the tracebacks of the errors that messages are about (their `cause`).
    """

    def __init__(self, *, quiet: bool, debug: bool = False) -> None:
        self._quiet = quiet
        self._debug = debug
        self._live: Any = None

    def __enter__(self) -> Self:
        self._messages = messages_to(None if self._quiet else self._show_message)
        self._messages.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()
        self._messages.__exit__(kind, error, trace)

    def _show_message(self, record: logging.LogRecord) -> None:
        text, cause = record.getMessage(), getattr(record, "cause", None)
        if self._debug and cause is not None:
            text = redact_text("".join(traceback.format_exception(cause))) + text
        live = self._live  # another thread may end it at any time
        if live is not None:
            live.console.print(visible(text), highlight=False, markup=False, soft_wrap=True)
        else:
            _print(text)

    def begin(self, status: SearchStatus) -> None:
        """Show the panel; without one, print a line if earlier launches finished trials."""
        self._status = status
        self._printed_at = time.monotonic()
        self._printed_done = status.statistics.finished
        if self._quiet:
            return
        if _is_terminal():
            self._show_panel()
        elif self._printed_done and status.state == "running":
            _print(_line(status))

    def changed(self) -> None:
        """Show that a trial has changed."""
        self.update(self._status)

    def update(self, status: SearchStatus) -> None:
        """Show a status. The panel redraws itself; without one, print a line now and then."""
        self._status = status
        if self._live is not None or self._quiet:
            return
        now, done = time.monotonic(), status.statistics.finished
        step = max(1, math.ceil((status.goal or 0) / _LINES_PER_STUDY))
        passed = done // step > self._printed_done // step
        silent = now - self._printed_at
        if status.doing != SEARCHING:
            if silent > _LONGEST_SILENCE:
                self._printed_at = now
                _print(status.doing)
            return
        growing = status.growing[:1] if silent > _LONGEST_SILENCE else []
        if passed or growing or (done > self._printed_done and silent > _LINE_INTERVAL):
            self._printed_at, self._printed_done = now, done
            trials = (f"trial {one.trial}: {one.progress()}" for one in growing)
            _print(", ".join([_line(status), *trials]))

    def mirrored(self, summary: "Mapping[str, Any]") -> None:
        """Log the address of the study's page, if MLflow is a server."""
        if summary["mlflow"]["view"] is not None:
            _logger.info("watch it: %s", summary["mlflow"]["view"])

    def end(self) -> None:
        """Stop redrawing the panel, which stays on the terminal."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _show_panel(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(
            get_renderable=self._panel,
            console=Console(stderr=True),
            refresh_per_second=_REFRESHES_PER_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start(refresh=True)

    def _panel(self) -> Any:
        from search.monitoring.panel import panel

        return panel(self._status)


def _print(text: str) -> None:
    print(visible(text), file=sys.stderr, flush=True)


def _is_terminal() -> bool:
    """Whether a panel can be redrawn: on a terminal that shows Unicode, or in a notebook."""
    if "ipykernel" in sys.modules:
        return find_spec("ipywidgets") is not None
    if not sys.stderr.isatty() or os.environ.get("CI") or os.environ.get("TERM") == "dumb":
        return False
    return (sys.stderr.encoding or "").lower().replace("-", "").startswith("utf")


def _line(status: SearchStatus) -> str:
    statistics, left = status.statistics, status.seconds_left()
    counts = statistics.counts
    parts = [f"{counts['pruned']} pruned"]
    parts += [f"{counts['failed']} failed"] if counts["failed"] else []
    best = status.best()
    parts += [] if best is None else [f"best {best}"]
    parts += [] if left is None else [f"about {left:.0f} s left"]
    return f"{statistics.finished}/{status.goal or '?'} trials  {', '.join(parts)}"

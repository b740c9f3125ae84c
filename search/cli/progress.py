"""Progress of a search: a bar on a terminal, elsewhere a line now and then; always on stderr."""

import math
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from search.metrics import Metric
    from storage.records import TrialRecord

_LINE_EVERY = 10.0
_LINES_A_STUDY = 5


class Progress:
    """Counts trials as they change, and shows them."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._states: dict[int, str] = {}
        self._counts: Counter[str] = Counter()
        self._best: float | None = None

    def say(self, text: str) -> None:
        """Print a sentence, above the bar where there is one."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)
        else:
            typer.echo(text, err=True)

    def begin(self, trials: "list[TrialRecord]", goal: int, metric: "Metric") -> None:
        """Show the bar, with what is done already."""
        self._goal, self._metric = goal, metric
        for record in trials:
            self._note(record)
        self._started, self._said_at = time.monotonic(), time.monotonic()
        self._done_before = self._said_done = self._done()
        if not self._quiet and sys.stderr.isatty():
            self._show_bar()

    def trial(self, record: "TrialRecord") -> None:
        """Take a change of a trial."""
        self._note(record)
        done, now = self._done(), time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=done, text=self._text())
        elif not self._quiet:
            step = max(1, math.ceil(self._goal / _LINES_A_STUDY))
            new = done > self._said_done
            if new and (done % step == 0 or now - self._said_at > _LINE_EVERY):
                self._said_at, self._said_done = now, done
                typer.echo(f"{done}/{self._goal} trials  {self._text()}{self._left(now)}", err=True)

    def shown(self, summary: "Mapping[str, Any]") -> None:
        """Print where the study is to be seen, where that is a server's page."""
        if summary["mlflow"]["view"] is not None:
            self.say(f"watch it: {summary['mlflow']['view']}")

    def end(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            MofNCompleteColumn(),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[text]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            expand=True,
        )
        self._task = self._bar.add_task("", total=self._goal, text=self._text())
        self._bar.start()
        self._bar.update(self._task, completed=self._done())

    def _note(self, record: "TrialRecord") -> None:
        # What was interrupted did not fail: the next launch grows it again.
        state = "INTERRUPTED" if record.interrupted else record.state
        if record.number in self._states:
            self._counts[self._states[record.number]] -= 1
        self._states[record.number] = state
        self._counts[state] += 1
        if record.state == "COMPLETE" and record.value is not None:
            least = self._metric.direction == "minimize"
            values = [v for v in (self._best, record.value) if v is not None]
            self._best = min(values) if least else max(values)

    def _done(self) -> int:
        return self._counts["COMPLETE"] + self._counts["PRUNED"]

    def _text(self) -> str:
        failed = self._counts["FAIL"]
        parts = [f"{self._counts['PRUNED']} pruned"]
        parts += [f"{failed} failed"] if failed else []
        if self._best is not None:
            parts.append(f"best {self._metric.name} {self._best:.5g}")
        return ", ".join(parts)

    def _left(self, now: float) -> str:
        grown = self._done() - self._done_before
        if grown == 0 or self._done() >= self._goal:
            return ""
        seconds = (now - self._started) / grown * (self._goal - self._done())
        return f", about {seconds:.0f} s left"

"""Everything that commands print: lines, JSON, tables, CSV, and the result of a launch."""

import csv
import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import typer

from search.errors import UsageError
from search.formatting import visible

if TYPE_CHECKING:
    from search.report.summary import StudySummary

# A spreadsheet evaluates text that begins with one of these as a formula.
_FORMULA = ("=", "+", "-", "@", "\t")
# Width of a table in a pipe, in characters: large enough that no line is folded.
_WIDE = 10_000


def echo(text: str, *, err: bool = False) -> None:
    """Print lines to stdout or stderr, with terminal control characters escaped."""
    typer.echo(visible(text), err=err)  # noqa: TID251 the one place


def print_json(document: Any) -> None:
    """Print a document to stdout. Infinities and NaN, which JSON lacks, become null."""
    echo(json.dumps(_plain(document), indent=2, ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def check_formats(json: bool, csv: bool) -> None:
    """Raise `UsageError` if both formats are requested."""
    if json and csv:
        raise UsageError("--json and --csv are two formats: give one of them")


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table to stdout as CSV, with a header, numbers in full, and empty cells for None.

    Text that a spreadsheet would evaluate as a formula is prefixed with an apostrophe.
    """
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerows([_harmless(value) for value in row] for row in (columns, *rows))


def _harmless(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return visible(f"'{value}" if value.startswith(_FORMULA) else value)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None
) -> None:
    """Print a table to stdout, with numbers right-aligned and rounded to five digits.

    Lines are folded to the width of the terminal, and not folded in a pipe.

    Parameters
    ----------
    columns
        Names of the columns. If all are empty, the table has no header.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [list(row) for row in rows]
    table = Table(
        box=None,
        pad_edge=False,
        show_header=any(columns),
        title=title and Text(visible(title), style="bold"),
        title_justify="left",
    )
    for place, name in enumerate(columns):
        numbers = all(isinstance(row[place], int | float | None) for row in cells)
        table.add_column(
            Text(visible(name)), justify="right" if numbers else "left", overflow="fold"
        )
    for row in cells:
        table.add_row(*(Text(visible(_shown(value))) for value in row))
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    with console.capture() as captured:
        console.print(table)
    # `echo` would escape the styles of the terminal.
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))  # noqa: TID251


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def print_result(summary: "StudySummary", *, registered: bool) -> None:
    """Print the result of a study that has ended, and the commands to use it.

    Parameters
    ----------
    summary
        The study's summary.
    registered
        Whether the launch was asked to register the champion.
    """
    from search.formatting import params_listed, scores_listed

    best, model, trials = summary.best, summary.model, summary.trials
    line = f"{summary.study}: {trials.complete} trials complete, {trials.pruned} pruned"
    echo(line + (f", {trials.failed} failed" if trials.failed else ""))
    if best is None:
        return
    shown = params_listed(best.params)
    echo(f"best: trial {best.number}, {summary.metric} {best.value:.5g} ({shown})")
    if summary.champion is not None and summary.champion.outdated:
        echo(
            f"the champion is still that of trial {summary.champion.trial}: "
            "run the same launch again to make the new one"
        )
        model = None
    elif summary.holdout:
        echo(f"hold-out{summary.of_trial}: {scores_listed(summary.holdout)}")
    if model is not None and registered and summary.state in {"finished", "stopped"}:
        name = model.name
        echo(f"registered: {name} version {model.version} (models:/{name}/{model.version})")
        echo(f"promote it: grovekeeper promote {name} --to Staging")
    if summary.evaluation is None:  # the study was made by another tool: MLflow has no run of it
        return
    place = summary.mlflow.view or f"grovekeeper ui --study {summary.study}"
    echo(f"look at it: {place}")

"""Tables as a person reads them on a terminal, or as CSV for other programs."""

import csv
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from search.errors import UsageError
from search.formatting import visible

Csv = Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")]

# With what a spreadsheet takes a text for a formula, and runs it.
_FORMULA = ("=", "+", "-", "@", "\t")
# Of a table in a pipe: its lines are not folded.
_WIDE = 10_000


def check_formats(json: bool, csv: bool) -> None:
    """Refuse two formats at once."""
    if json and csv:
        raise UsageError("--json and --csv are two formats: give one of them")


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table as CSV to stdout: a line of names, then numbers in full; nothing for None.

    A text that a spreadsheet would take for a formula gets an apostrophe in front of it.
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
    """Print a table to stdout, numbers on the right with five digits; in a pipe, no line is folded.

    Parameters
    ----------
    columns
        Their names; all empty for none.
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
    # Not by `echo`: its styles are for the terminal.
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))  # noqa: TID251


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)

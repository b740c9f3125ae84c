"""`grovekeeper studies`: list the studies."""

import typer

from search.cli.options import Json, globals_of, print_json


def studies(context: typer.Context, json: Json = False) -> None:
    """List the studies.

    Example: grovekeeper studies --json
    """
    from search.summary import summarize
    from storage.studies import StudyBook

    book = StudyBook(globals_of(context).storage)
    summaries = [summarize(book.open(name)) for name in book.names()]
    if json:
        print_json(summaries)
        return
    if not summaries:
        typer.echo("no studies yet: start one with `grovekeeper launch`")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("study", "state", "trials", "metric", "best", "model"):
        table.add_column(title, justify="right" if title in {"trials", "best"} else "left")
    for summary in summaries:
        trials, best, model = summary["trials"], summary["best"], summary["model"]
        table.add_row(
            summary["study"],
            summary["state"],
            f"{trials['complete'] + trials['pruned']}/{trials['goal'] or '?'}",
            summary["metric"] or "",
            f"{best['value']:.5g}" if best else "",
            f"{model['name']} {model['version']}" if model else "",
        )
    Console().print(table)

"""`grovekeeper studies`: list the studies."""

import typer

from search.cli.options import Json, echo, globals_of, print_json
from search.cli.tables import Csv, check_formats, print_csv, print_table

_COLUMNS = ("study", "state", "trials", "goal", "metric", "best", "hold-out", "model", "version")


def studies(context: typer.Context, json: Json = False, csv: Csv = False) -> None:
    """List the studies.

    Shows how far each is, its best score, and that of its champion on the hold-out.

    Example: grovekeeper studies --json
    """
    check_formats(json, csv)
    from search.summary import summarize
    from storage.studies import StudyBook

    book = StudyBook(globals_of(context).storage)
    summaries = [summarize(book.open(name)) for name in book.names()]
    if json:
        print_json(summaries)
        return
    if not summaries and not csv:
        echo("no studies yet: start one with `grovekeeper launch`")
        return
    rows = []
    for summary in summaries:
        trials, best, model = summary["trials"], summary["best"], summary["model"]
        rows.append(
            [
                summary["study"],
                summary["state"],
                trials["complete"] + trials["pruned"],
                trials["goal"],
                summary["metric"],
                best and best["value"],
                (summary["holdout"] or {}).get(summary["metric"]),
                model and model["name"],
                model and model["version"],
            ]
        )
    (print_csv if csv else print_table)(_COLUMNS, rows)

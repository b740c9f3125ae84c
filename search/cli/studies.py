"""`grovekeeper studies`: list the studies."""

from contextlib import suppress

import typer

from search.cli.options import Csv, Json, globals_of
from search.cli.output import check_formats, echo, print_csv, print_json, print_table

_COLUMNS = ("study", "state", "trials", "goal", "metric", "best", "hold-out", "model", "version")


def studies(context: typer.Context, json: Json = False, csv: Csv = False) -> None:
    """List the studies.

    Shows the progress of each, its best score, and its champion's score on the hold-out.

    Example: grovekeeper studies --json
    """
    check_formats(json, csv)
    from search.report.summary import summarize
    from storage.errors import NotFoundError
    from storage.studies.study import StudyBook

    book = StudyBook(globals_of(context).storage)
    summaries = []
    for name in book.names():
        with suppress(NotFoundError):  # the study was deleted in the meantime
            summaries.append(summarize(book.open(name)))
    if json:
        print_json([summary.model_dump() for summary in summaries])
        return
    if not summaries and not csv:
        echo("no studies yet: start one with `grovekeeper launch`")
        return
    rows = []
    for summary in summaries:
        trials, best, model = summary.trials, summary.best, summary.model
        champion = summary.champion
        holdout = {} if champion and champion.outdated else summary.holdout or {}
        rows.append(
            [
                summary.study,
                summary.state if summary.evaluation else "not made by Grovekeeper",
                trials.complete + trials.pruned,
                trials.goal,
                summary.metric,
                best and best.value,
                holdout.get(summary.metric),
                model and model.name,
                model and model.version,
            ]
        )
    (print_csv if csv else print_table)(_COLUMNS, rows)

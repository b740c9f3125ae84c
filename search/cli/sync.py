"""`grovekeeper sync`: bring the MLflow mirror level."""

from dataclasses import asdict
from typing import Annotated

import typer

from search.cli.options import Json, globals_of, print_json


def sync(
    context: typer.Context,
    study: Annotated[
        str | None, typer.Argument(help="Name of the study; default: all of them.")
    ] = None,
    json: Json = False,
) -> None:
    """Bring MLflow level with Optuna's database.

    Example: grovekeeper sync diabetes
    """
    from search.mirror import sync as bring_level
    from storage.studies import StudyBook

    options = globals_of(context)
    book = StudyBook(options.storage)
    names = [study] if study else book.names()
    done = [bring_level(book.open(name), options.tracking_uri) for name in names]
    if json:
        print_json([asdict(one) for one in done])
        return
    for one in done:
        typer.echo(f"{one.study}: {one.runs} trial runs, {one.changed} made or changed")

"""`grovekeeper sync`: bring the MLflow mirror level."""

from dataclasses import asdict
from typing import Annotated

import typer

from search.cli.options import Json, globals_of
from search.cli.output import echo, print_json
from storage.errors import StudyBusyError


def sync(
    context: typer.Context,
    study: Annotated[
        str | None, typer.Argument(help="Name of the study; default: all of them.")
    ] = None,
    json: Json = False,
) -> None:
    """Bring MLflow level with Optuna's database; a study that others made, too, by its name.

    Example: grovekeeper sync diabetes
    """
    from search.service.sync import sync as bring_level
    from storage.studies.study import StudyBook

    options = globals_of(context)
    book = StudyBook(options.storage)
    asked = [book.open(study)] if study else [book.open(name) for name in book.names()]
    ours = [each for each in asked if study or each.get("spec")]
    for foreign in asked:
        if foreign not in ours:
            options.say(f"{foreign.name}: not made by grovekeeper, left alone unless it is named")
    done = []
    for each in ours:
        try:
            done.append(bring_level(each, options.tracking_uri))
        except StudyBusyError as error:
            if study:
                raise
            options.say(f"{error}; its mirror is kept by it")
    if json:
        print_json([asdict(one) for one in done])
        return
    for one in done:
        gone = f", {one.deleted} deleted that stood for no trial" if one.deleted else ""
        echo(f"{one.study}: {one.runs} trial runs, {one.changed} made or changed{gone}")

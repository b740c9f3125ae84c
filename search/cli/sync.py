"""`grovekeeper sync`: bring the MLflow mirror up to date."""

from dataclasses import asdict
from typing import Annotated

import typer

from search.cli.options import Json, globals_of
from search.cli.output import echo, print_json
from storage.errors import StudyBusyError


def sync(
    context: typer.Context,
    study: Annotated[
        str | None, typer.Argument(help="Name of the study. Default: all that grovekeeper made.")
    ] = None,
    restore: Annotated[
        bool,
        typer.Option(
            "--restore", help="Restore the experiment and the study's run if they were deleted."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Bring MLflow up to date with Optuna's database.

    A study made by another tool is mirrored only if it is named.

    Example: grovekeeper sync diabetes
    """
    from search.service.sync import sync as sync_study
    from search.study.notes import read_notes
    from storage.studies.study import StudyBook

    options = globals_of(context)
    book = StudyBook(options.storage)
    chosen = [book.open(study)] if study else [book.open(name) for name in book.names()]
    ours = [each for each in chosen if study or read_notes(each).spec]
    for foreign in chosen:
        if foreign not in ours:
            options.say(f"{foreign.name}: not made by grovekeeper, skipped unless it is named")
    done = []
    for each in ours:
        try:
            done.append(sync_study(each, options.tracking_uri, restore=restore))
        except StudyBusyError as error:
            if study and not restore:
                raise
            options.say(f"{error}; its coordinator keeps the mirror up to date")
    if json:
        print_json([asdict(one) for one in done])
        return
    for one in done:
        gone = f", {one.deleted} deleted that belonged to no trial" if one.deleted else ""
        echo(f"{one.study}: {one.runs} trial runs, {one.changed} made or changed{gone}")

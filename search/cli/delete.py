"""`grovekeeper delete`: delete a study, its runs and its view."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from search.cli.options import Json, globals_of
from search.cli.output import echo, print_json
from search.cli.signals import StopSignals
from search.errors import StudyError, UsageError
from search.formatting import visible


def delete(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help="Name of the study.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    json: Json = False,
) -> None:
    """Delete a study with its runs in MLflow.

    Its view is deleted, too; registered versions are kept. MLflow can restore the runs until
    `mlflow gc` is run.

    Example: grovekeeper delete diabetes --yes
    """
    from search.service.deletion import delete as delete_study
    from storage.studies.study import StudyBook

    options = globals_of(context)
    opened = StudyBook(options.storage).open(study)
    if not yes:
        _ask(study, len(opened.trials()))
    options.say(f"deleting the runs and the trials of study '{study}'")
    done = delete_study(opened, options.tracking_uri)
    if json:
        print_json(asdict(done))
        return
    echo(f"{done.study}: deleted, {done.trials} trials and {done.runs} runs in MLflow")


def _ask(study: str, trials: int) -> None:
    if not sys.stdin.isatty():
        raise UsageError(
            f"cannot ask whether to delete study '{study}', as stdin is not a terminal: give --yes"
        )
    question = f"Delete study '{study}' with its {trials} trials, and their runs in MLflow?"
    with StopSignals():
        try:
            agreed = typer.confirm(visible(question), err=True)
        except typer.Abort:  # standard input ended without an answer
            agreed = False
    if not agreed:
        raise StudyError(f"study '{study}' was not deleted")

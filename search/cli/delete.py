"""`grovekeeper delete`: a study, its runs and its view."""

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
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Delete a study with its runs in MLflow.

    Its view goes, too; registered versions stay. MLflow can restore the runs until `mlflow gc`.

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
        raise UsageError(f"delete asks before it deletes '{study}': say --yes where nobody answers")
    question = f"Delete study '{study}' with its {trials} trials, and their runs in MLflow?"
    with StopSignals():
        try:
            agreed = typer.confirm(visible(question), err=True)
        except typer.Abort:  # the end of what can be read: no answer
            agreed = False
    if not agreed:
        raise StudyError(f"study '{study}' was not deleted")

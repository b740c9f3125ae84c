"""`grovekeeper best`: a study's winning hyperparameters, or the code that makes the forest."""

from typing import Annotated

import typer

from search.cli.options import Json, globals_of, print_json
from search.errors import StudyError, UsageError


def best(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help="Name of the study.")],
    python: Annotated[
        bool, typer.Option("--python", help="Print plain scikit-learn that makes the forest.")
    ] = False,
    json: Json = False,
) -> None:
    """Print a study's winning hyperparameters.

    With --python, print the few lines of scikit-learn that make the winning forest.

    Example: grovekeeper best diabetes --python
    """
    if python and json:
        raise UsageError("--python and --json are two formats: give one of them")
    from storage.progress import Progress
    from storage.studies import StudyBook

    opened = StudyBook(globals_of(context).storage).open(study)
    if python:
        from search.export import as_python

        typer.echo(as_python(opened))
        return
    trial = Progress(opened.direction, opened.trials()).champion
    if trial is None:
        raise StudyError(f"study '{study}' has no complete trial yet")
    if json:
        found = {"study": study, "trial": trial.number, "metric": opened.metric}
        print_json(found | {"value": trial.value, "params": dict(trial.params)})
        return
    typer.echo(f"trial {trial.number}: {opened.metric} {trial.value:.6g}")
    for name, value in trial.params.items():
        typer.echo(f"{name} = {'none' if value is None else value}")

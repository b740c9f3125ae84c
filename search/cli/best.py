"""`grovekeeper best`: a study's winning hyperparameters, or code that makes its forest."""

from typing import Annotated

import typer

from search.cli.options import Json, globals_of
from search.cli.output import echo, print_json
from search.errors import UsageError


def best(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help="Name of the study.")],
    python: Annotated[
        bool, typer.Option("--python", help="Print scikit-learn code that makes the champion.")
    ] = False,
    json: Json = False,
) -> None:
    """Print a study's winning hyperparameters.

    With --python, print scikit-learn code that makes the champion: if the best trial's model is
    large, `launch` may choose a smaller one.

    Example: grovekeeper best diabetes --python
    """
    if python and json:
        raise UsageError("--python and --json are two formats: give one of them")
    from search.formatting import written
    from search.study.notes import read_notes
    from search.study.ranking import best_of, score_name, score_now
    from storage.studies.study import StudyBook

    opened = StudyBook(globals_of(context).storage).open(study)
    if python:
        from search.model.export import as_python

        echo(as_python(opened))
        return
    trial = best_of(opened)
    score, metric = score_now(trial), score_name(trial, opened.metric, read_notes(opened).guide)
    if json:
        found = {"study": study, "trial": trial.number, "metric": metric}
        print_json(found | {"value": score, "params": dict(trial.params)})
        return
    echo(f"trial {trial.number}: {metric} {score:.6g}")
    for name, value in trial.params.items():
        echo(f"{name} = {written(value)}")

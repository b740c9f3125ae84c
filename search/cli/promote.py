"""`grovekeeper promote`: move a model's best version to a stage."""

from typing import Annotated

import typer

from search.cli.options import Json, globals_of, print_json
from search.errors import UsageError


def promote(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Name of the registered model.")],
    version: Annotated[
        int | None, typer.Option(help="Default: the best on the hold-out.", min=1)
    ] = None,
    to: Annotated[str, typer.Option(help="Staging or Production.")] = "Staging",
    json: Json = False,
) -> None:
    """Promote a version; stage and alias move together, the older holder is archived.

    Example: grovekeeper promote diabetes --to Staging
    """
    from search.promotion import promote as move
    from search.spec import check_name
    from storage.registry import STAGES, open_registry

    stage = to.capitalize()
    if stage not in STAGES:
        raise UsageError(f"--to {to} is no stage: there are {' and '.join(STAGES)}")
    check_name("model", model)
    done = move(open_registry(globals_of(context).tracking_uri), model, version, stage)
    if json:
        print_json(
            {
                "model": model,
                "version": done.version.version,
                "from": done.version.stage,
                "to": done.stage,
                "alias": done.stage.lower(),
                "metric": done.metric,
                "holdout": done.score,
                "archived": done.before and done.before.version,
            }
        )
        return
    score = "" if done.score is None else f" (hold-out {done.metric} {done.score:.5g})"
    before = f"; version {done.before.version} is archived" if done.before else ""
    typer.echo(f"{model} version {done.version.version}{score} is now in {done.stage}{before}")
    typer.echo(f"load it: models:/{model}/{done.stage} or models:/{model}@{done.stage.lower()}")

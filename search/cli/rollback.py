"""`grovekeeper rollback`: move the previous version back into a stage."""

from typing import Annotated

import typer

from search.cli.options import Json, Reason, open_registry, read_stage
from search.cli.output import echo, print_json
from search.cli.promote import describe_move


def rollback(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Name of the registered model.")],
    stage: Annotated[
        str, typer.Option("--from", help="Stage: Staging or Production.", metavar="STAGE")
    ] = "Staging",
    reason: Reason = None,
    json: Json = False,
) -> None:
    """Move the previous version back into a stage.

    Each further rollback goes back one more version.

    Example: grovekeeper rollback diabetes --reason "drifts on new patients"
    """
    from search.promotion.history import MoveDocument
    from search.promotion.promote import check_reason
    from search.promotion.promote import rollback as back

    where = read_stage(stage, "--from")
    why = check_reason(reason)
    with open_registry(context, model) as registry:
        done = back(registry, model, where, why)
    if json:
        print_json({"model": model, "alias": where.lower()} | MoveDocument.of(done).model_dump())
    else:
        echo(describe_move(model, done))

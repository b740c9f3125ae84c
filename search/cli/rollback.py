"""`grovekeeper rollback`: put the version before back into a stage."""

from typing import Annotated

import typer

from search.cli.options import Json, Reason, open_registry, read_stage
from search.cli.output import echo, print_json
from search.cli.promote import said


def rollback(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Name of the registered model.")],
    stage: Annotated[
        str, typer.Option("--from", help="Staging or Production.", metavar="STAGE")
    ] = "Staging",
    reason: Reason = None,
    json: Json = False,
) -> None:
    """Put back the version that stood in a stage before.

    Again, it goes one further back.

    Example: grovekeeper rollback diabetes --reason "drifts on new patients"
    """
    from search.promotion.history import document
    from search.promotion.promote import check_reason
    from search.promotion.promote import rollback as back

    where = read_stage(stage, "--from")
    why = check_reason(reason)
    with open_registry(context, model) as registry:
        done = back(registry, model, where, why)
    if json:
        print_json({"model": model, "alias": where.lower()} | document(done))
    else:
        echo(said(model, done))

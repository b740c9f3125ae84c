"""`grovekeeper promote`: move a version of a model to a stage if it passes the gate."""

from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.options import Json, Query, Reason, open_registry, read_stage
from search.cli.output import echo, print_json
from search.errors import UsageError

if TYPE_CHECKING:
    from storage.records import Move


def promote(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Name of the registered model.")],
    version: Annotated[
        int | None,
        typer.Option(help="Version to promote. Default: the best on the hold-out.", min=1),
    ] = None,
    to: Annotated[
        str, typer.Option(help="Stage: Staging or Production.", metavar="STAGE")
    ] = "Staging",
    data: Annotated[
        str | None,
        typer.Option(help="Current path or address of the version's table.", metavar="PATH|URL"),
    ] = None,
    query: Query = None,
    tolerance: Annotated[
        float,
        typer.Option(
            help="How much worse the version may be, as a share of the score.", min=0, max=1
        ),
    ] = 0.0,
    require: Annotated[
        list[str] | None,
        typer.Option(help="Bound that a score must meet; can be repeated.", metavar="METRIC=VALUE"),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Promote only a version that is shown to be better.")
    ] = False,
    refit_all: Annotated[
        bool, typer.Option("--refit-all", help="Promote a version refitted on all rows.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Override the gate; requires --reason.")
    ] = False,
    reason: Reason = None,
    json: Json = False,
) -> None:
    """Promote a version if it passes the gate.

    The version and the current one of the stage are scored on the same held-out rows. A version
    that is shown to be worse is refused. Stage and alias are moved together.

    Example: grovekeeper promote diabetes --to Staging --require rmse=70
    """
    from search.promotion.evaluation import Criteria
    from search.promotion.history import MoveDocument
    from search.promotion.promote import PromotionRequest, check_reason
    from search.promotion.promote import promote as move

    stage = read_stage(to, "--to")
    why = check_reason(reason)
    if force and not why:
        raise UsageError("--force requires --reason TEXT, which is kept in the model's history")
    criteria = Criteria(tolerance, strict, tuple(require or ()))
    request = PromotionRequest(version, stage, criteria, data, why, force, refit_all, query)
    with open_registry(context, model) as registry:
        number, done = move(registry, model, request)
    if json:
        unmoved = {"version": number, "to": stage, "action": None}
        about = unmoved if done is None else MoveDocument.of(done).model_dump()
        print_json({"model": model, "alias": stage.lower()} | about)
    elif done is None:
        echo(f"{model} version {number} is already in {stage}")
    else:
        echo(describe_move(model, done))
        echo(f"load it: models:/{model}/{stage} or models:/{model}@{stage.lower()}")


def describe_move(model: str, move: "Move") -> str:
    """Return lines that say what was moved, how it was judged, and what it replaced."""
    lines = [f"{model} version {move.version} is now in {move.stage}"]
    if move.incumbent is not None:
        lines[0] += f"; version {move.incumbent} is archived"
    found = move.judgement
    if found is None or found.candidate is None or found.incumbent is None:
        return lines[0]
    against = "a constant" if move.incumbent is None else f"version {move.incumbent}"
    lines.append(
        f"on {found.rows} held-out rows: {found.metric} {found.candidate:.5g}, "
        f"{against} {found.incumbent:.5g}: {found.verdict}"
    )
    lines.append(f"difference {found.candidate - found.incumbent:+.3g}")
    if found.interval is not None:
        low, high = found.interval
        lines[-1] += f", 95% interval {low:+.3g} to {high:+.3g}"
    return "\n".join(lines)

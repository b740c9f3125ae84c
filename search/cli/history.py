"""`grovekeeper history`: show who moved which version of a model, when and why."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.cli.options import Csv, Json, open_registry
from search.cli.output import check_formats, echo, print_csv, print_json, print_table

if TYPE_CHECKING:
    from search.promotion.history import MoveDocument, StageDocument

_COLUMNS = ("time", "who", "move", "version", "to", "judged", "why")
_STATES = {"open": " (not completed)", "overtaken": " (overtaken)"}


def history(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Name of the registered model.")],
    json: Json = False,
    csv: Csv = False,
) -> None:
    """Show who moved a model's versions, when and why.

    Lists all moves, oldest first, and then the version that is in each stage.

    Example: grovekeeper history diabetes
    """
    check_formats(json, csv)
    from search.promotion.history import history as read

    with open_registry(context, model) as registry:
        found = read(registry, model)
    if json:
        print_json(found.model_dump())
        return
    rows = [_row(move) for move in found.moves]
    if csv:
        print_csv(_COLUMNS, rows)
        return
    print_table(_COLUMNS, rows)
    for stage, now in found.now.items():
        if now.version is not None or now.alias is not None:
            echo(f"now in {stage}: {_now(now)}")
    if any(move.state == "open" for move in found.moves):
        echo("a move is not completed: the next promote or rollback completes it", err=True)


def _row(move: "MoveDocument") -> list[Any]:
    time = (move.time or "")[:16].replace("T", " ")
    what = f"{move.action}{_STATES.get(move.state, '')}"
    version = "none" if move.version is None else str(move.version)
    return [time, move.user, what, version, move.to, _judged(move), move.reason]


def _judged(move: "MoveDocument") -> str:
    if move.candidate is None:
        return move.verdict or ""
    scores = f"{move.metric} {move.candidate:.5g}, was {move.incumbent:.5g}"
    return f"{scores}: {move.verdict}"


def _now(now: "StageDocument") -> str:
    if now.version == now.alias:
        return f"version {now.version}"
    stage = "nothing" if now.version is None else f"version {now.version}"
    alias = "nothing" if now.alias is None else f"version {now.alias}"
    return f"{stage}, but the alias points to {alias}: one of them was changed by hand"

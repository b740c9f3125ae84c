"""`grovekeeper history`: who moved which version of a model, when and why."""

from typing import Annotated, Any

import typer

from search.cli.options import Json, open_registry, print_json

_STATES = {"open": " (not completed)", "overtaken": " (overtaken)"}


def history(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Name of the registered model.")],
    json: Json = False,
) -> None:
    """Show every move of a model's versions, oldest first, and what stands now.

    Example: grovekeeper history diabetes
    """
    from search.history import history as read

    with open_registry(context, model) as registry:
        found = read(registry, model)
    if json:
        print_json(found)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("time", "who", "move", "version", "to", "judged", "why"):
        table.add_column(title, overflow="fold", no_wrap=title == "time")
    for move in found["moves"]:
        time = (move["time"] or "")[:16].replace("T", " ")
        what = f"{move['action']}{_STATES.get(move['state'], '')}"
        version = "none" if move["version"] is None else str(move["version"])
        rest = (move["to"], _judged(move), move["reason"] or "")
        table.add_row(time, move["user"] or "", what, version, *rest)
    Console().print(table, highlight=False, markup=False)
    for stage, now in found["now"].items():
        if now["version"] is not None or now["alias"] is not None:
            typer.echo(f"now in {stage}: {_now(now)}")
    if any(move["state"] == "open" for move in found["moves"]):
        typer.echo("a move is not completed: the next promote or rollback completes it", err=True)


def _judged(move: dict[str, Any]) -> str:
    if move["candidate"] is None:
        return move["verdict"] or ""
    scores = f"{move['metric']} {move['candidate']:.5g}, was {move['incumbent']:.5g}"
    return f"{scores}: {move['verdict']}"


def _now(now: dict[str, Any]) -> str:
    if now["version"] == now["alias"]:
        return f"version {now['version']}"
    stage = "nothing" if now["version"] is None else f"version {now['version']}"
    alias = "nothing" if now["alias"] is None else f"version {now['alias']}"
    return f"{stage}; its alias names {alias}: somebody changed one of them by hand"

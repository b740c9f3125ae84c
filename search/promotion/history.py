"""The history of a model: who moved which version where, when and why, and what stands now."""

from typing import Any

from storage.records import Move
from storage.registry.client import STAGES, Registry
from storage.registry.transitions import read_moves

BY_HAND = "by hand"


def history(registry: Registry, model: str) -> dict[str, Any]:
    """Return a model's history as the JSON document that the command line promises.

    What somebody changed elsewhere, in the MLflow UI for instance, is told from what the next move
    found, and at the end from what stands now; its time is not known.

    Raises
    ------
    NotFoundError
        When there is no such model.
    """
    versions = registry.versions(model)
    holders: dict[str, int | None] = dict.fromkeys(STAGES)
    moves: list[dict[str, Any]] = []
    for move in read_moves(registry, model):
        if move.incumbent != holders[move.stage]:
            moves.append(_by_hand(move.incumbent, move.stage))
            holders[move.stage] = move.incumbent
        moves.append(document(move))
        if move.state == "done":
            for stage, holder in holders.items():
                if holder == move.version:
                    holders[stage] = None
            holders[move.stage] = move.version
    now = {}
    for stage in STAGES:
        there = [v.version for v in versions if v.stage == stage]
        named = [v.version for v in versions if stage.lower() in v.aliases]
        now[stage] = {"version": there[-1] if there else None, "alias": named[0] if named else None}
        if now[stage]["version"] != holders[stage] and not _open(moves, stage):
            moves.append(_by_hand(now[stage]["version"], stage))
    return {"model": model, "moves": moves, "now": now}


def document(move: Move) -> dict[str, Any]:
    """Return a move as JSON has it."""
    found = move.judgement
    return {
        "time": move.time,
        "action": move.action,
        "version": move.version,
        "from": move.origin,
        "to": move.stage,
        "user": move.user,
        "reason": move.reason,
        "candidate": found and found.candidate,
        "incumbent": found and found.incumbent,
        "incumbent_version": move.incumbent,
        "metric": found and found.metric,
        "interval": found and found.interval and list(found.interval),
        "rows": found and found.rows,
        "verdict": found and found.verdict,
        "state": move.state,
    }


def _open(moves: list[dict[str, Any]], stage: str) -> bool:
    return any(move["to"] == stage and move["state"] == "open" for move in moves)


def _by_hand(version: int | None, stage: str) -> dict[str, Any]:
    unknown = dict.fromkeys(document(Move("", "", "promote", 0, "", "Staging", None, "")))
    return unknown | {"action": BY_HAND, "version": version, "to": stage, "state": "done"}

"""The history of a model: who moved which version where, when and why, and the current stages."""

from typing import Any

from storage.records import Move
from storage.registry.client import STAGES, Registry
from storage.registry.transitions import read_moves

BY_HAND = "by hand"


def history(registry: Registry, model: str) -> dict[str, Any]:
    """Return a model's history as the JSON document of `grovekeeper history --json`.

    Changes that were made elsewhere, for example in the MLflow UI, are inferred: the next recorded
    move, or the current stage, has another version than the previous move. Their time is unknown.

    Raises
    ------
    NotFoundError
        If there is no such model.
    """
    versions = registry.versions(model)
    current: dict[str, int | None] = dict.fromkeys(STAGES)
    moves: list[dict[str, Any]] = []
    for move in read_moves(registry, model):
        if move.incumbent != current[move.stage]:
            moves.append(_by_hand(move.incumbent, move.stage))
            current[move.stage] = move.incumbent
        moves.append(document(move))
        if move.state == "done":
            for stage, number in current.items():
                if number == move.version:
                    current[stage] = None
            current[move.stage] = move.version
    now = {}
    for stage in STAGES:
        staged = [v.version for v in versions if v.stage == stage]
        aliased = [v.version for v in versions if stage.lower() in v.aliases]
        now[stage] = {
            "version": staged[-1] if staged else None,
            "alias": aliased[0] if aliased else None,
        }
        if now[stage]["version"] != current[stage] and not _is_open(moves, stage):
            moves.append(_by_hand(now[stage]["version"], stage))
    return {"model": model, "moves": moves, "now": now}


def document(move: Move) -> dict[str, Any]:
    """Return a move as the JSON document of the command line."""
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


def _is_open(moves: list[dict[str, Any]], stage: str) -> bool:
    """Whether a move to a stage was recorded but not completed."""
    return any(move["to"] == stage and move["state"] == "open" for move in moves)


def _by_hand(version: int | None, stage: str) -> dict[str, Any]:
    unknown = dict.fromkeys(document(Move("", "", "promote", 0, "", "Staging", None, "")))
    return unknown | {"action": BY_HAND, "version": version, "to": stage, "state": "done"}

"""Moves between stages: recorded before they are carried out, one tag a move on the model.

MLflow's registry has no compare-and-swap. So whoever moves a version first writes down that it
will, then carries out the newest move on record, which need not be its own, and looks again. Moves
have one order for everybody; whoever is last to look therefore leaves the stage as the newest move
has it. A move that a crash left half carried out is completed by the next call.
"""

import json
import re
import secrets
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from storage.errors import NotFoundError
from storage.host import this_user
from storage.records import Judgement, ModelVersion, Move, Stage
from storage.registry.client import STAGES, Registry

_PREFIX = "grovekeeper.move."
_KEY = re.compile(re.escape(_PREFIX) + r"(\d{6}-[0-9a-f]{8})")
# A tag's value has room for 5,000 characters in every database.
REASON_LENGTH = 1000
_USER_LENGTH = 200
_PAUSE = 0.2


def read_moves(registry: Registry, model: str) -> list[Move]:
    """Return all moves of a model on record, oldest first; what is no move is left out."""
    found = [
        _move(match[1], text)
        for key, text in registry.tags(model).items()
        if (match := _KEY.fullmatch(key))
    ]
    return sorted((move for move in found if move is not None), key=lambda move: move.key)


def record(registry: Registry, model: str, move: Move) -> Move:
    """Write down a new move as the newest; return it with its key. It is yet to be carried out."""
    moves = read_moves(registry, model)
    last = int(moves[-1].key[:6]) if moves else 0
    # Two at once may take one number: the rest of the key decides who is the later.
    move = replace(move, key=f"{last + 1:06}-{secrets.token_hex(4)}")
    _write(registry, model, move)
    return move


def new_move(version: ModelVersion, stage: Stage, **more: Any) -> Move:
    """Return a move of `version` to `stage`, now and by this user, that is on no record yet."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    user = this_user()[:_USER_LENGTH]
    return Move(
        "", now, version=version.version, origin=version.stage, stage=stage, user=user, **more
    )


def settle(registry: Registry, model: str, stage: Stage) -> Move | None:
    """Carry out the newest move to a stage, until it is the newest; return it.

    Where no move is open nothing is touched: somebody may have changed the stage by hand since.

    Raises
    ------
    NotFoundError
        When the version that was to be moved is gone.
    """
    moves = _to(stage, read_moves(registry, model))
    if all(move.state != "open" for move in moves):
        return moves[-1] if moves else None
    while True:
        newest = moves[-1]
        _carry_out(registry, model, newest)
        moves = _to(stage, read_moves(registry, model))
        if moves[-1].key == newest.key:
            break
    for move in moves[:-1]:
        if move.state == "open":
            _write(registry, model, replace(move, state="overtaken"))
    done = replace(newest, state="done")
    _write(registry, model, done)
    return done


def _to(stage: Stage, moves: list[Move]) -> list[Move]:
    return [move for move in moves if move.stage == stage and move.action != "refuse"]


def _carry_out(registry: Registry, model: str, move: Move, tries: int = 5) -> None:
    """Move stage and alias, in an order in which both name a version that is there, whenever.

    Two at once that make one alias collide in MLflow's database: then it is done once more.
    """
    from mlflow.exceptions import MlflowException

    try:
        _move_to_stage(registry, model, move)
    except MlflowException:
        if tries == 1:
            raise
        time.sleep(_PAUSE)
        _carry_out(registry, model, move, tries - 1)


def _move_to_stage(registry: Registry, model: str, move: Move) -> None:
    versions = {version.version: version for version in registry.versions(model)}
    version = versions.get(move.version)
    if version is None:
        _write(registry, model, replace(move, state="overtaken"))  # and so in nobody's way
        raise NotFoundError(
            f"version {move.version} of {model} was to be moved to {move.stage}, and is gone: "
            "promote another"
        )
    registry.move(version, move.stage)
    for stage in STAGES:
        if stage != move.stage and stage.lower() in version.aliases:
            registry.remove_alias(model, stage)


def _write(registry: Registry, model: str, move: Move) -> None:
    content = {key: value for key, value in asdict(move).items() if key != "key"}
    registry.set_tag(model, _PREFIX + move.key, json.dumps(content, ensure_ascii=False))


def _move(key: str, text: str) -> Move | None:
    try:
        content = json.loads(text)
        judgement = content.pop("judgement")
        if judgement is not None:
            interval = judgement.pop("interval")
            judgement = Judgement(**judgement, interval=interval and tuple(interval))
        return Move(key, **content, judgement=judgement)
    except (ValueError, TypeError, KeyError, AttributeError):  # somebody else's tag
        return None

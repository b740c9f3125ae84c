"""Transitions between stages, each recorded as a tag of the model before it is carried out.

MLflow's registry has no compare-and-swap. A process that moves a version therefore first records
the move, then carries out the newest recorded move, which may be another process's, and reads the
record again. All processes see the moves in the same order, so the process that reads last leaves
the stage as the newest move requires. The next call completes a move that a crash interrupted.
"""

import json
import re
import secrets
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from storage.errors import NotFoundError
from storage.host import this_user
from storage.records import Judgement, ModelVersion, Move, Stage
from storage.registry.client import STAGES, Registry
from storage.retry import retry

_PREFIX = "grovekeeper.move."
_KEY = re.compile(re.escape(_PREFIX) + r"(\d{6}-[0-9a-f]{8})")
# MLflow stores up to 5,000 characters in a tag's value, whatever the database.
REASON_LENGTH = 1000
_USER_LENGTH = 200
_PAUSE = 0.2


def read_moves(registry: Registry, model: str) -> list[Move]:
    """Return all recorded moves of a model, oldest first; tags that are not moves are skipped."""
    found = [
        _move(match[1], text)
        for key, text in registry.tags(model).items()
        if (match := _KEY.fullmatch(key))
    ]
    return sorted((move for move in found if move is not None), key=lambda move: move.key)


def record(registry: Registry, model: str, move: Move) -> Move:
    """Record a new move as the newest, without carrying it out; return it with its key."""
    moves = read_moves(registry, model)
    last = int(moves[-1].key[:6]) if moves else 0
    # Two processes may pick the same number: the random part of the key then orders their moves.
    move = replace(move, key=f"{last + 1:06}-{secrets.token_hex(4)}")
    _write(registry, model, move)
    return move


def new_move(version: ModelVersion, stage: Stage, **more: Any) -> Move:
    """Return a move of `version` to `stage` by this user at this time, not yet recorded."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    user = this_user()[:_USER_LENGTH]
    return Move(
        "", now, version=version.version, origin=version.stage, stage=stage, user=user, **more
    )


def settle(registry: Registry, model: str, stage: Stage) -> Move | None:
    """Carry out the newest move to a stage, until no newer one was recorded meanwhile; return it.

    If no move is open, nothing changes: the stage may have been changed by hand since.

    Raises
    ------
    NotFoundError
        When the version to be moved was deleted.
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


def _carry_out(registry: Registry, model: str, move: Move) -> None:
    """Move stage and alias, in an order in which both name an existing version at any time.

    MLflow's database rejects one of two processes that create an alias at the same time: retry.
    """
    from mlflow.exceptions import MlflowException

    retry(
        lambda: _move_to_stage(registry, model, move),
        (MlflowException,),
        attempts=5,
        first_pause=_PAUSE,
        longest_pause=_PAUSE,
    )


def _move_to_stage(registry: Registry, model: str, move: Move) -> None:
    versions = {version.version: version for version in registry.versions(model)}
    version = versions.get(move.version)
    if version is None:
        # No longer open, so that it does not block later moves.
        _write(registry, model, replace(move, state="overtaken"))
        raise NotFoundError(
            f"version {move.version} of {model} cannot be moved to {move.stage}: it was deleted; "
            "promote another version"
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
    except (ValueError, TypeError, KeyError, AttributeError):  # another tool's tag
        return None

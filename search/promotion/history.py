"""The history of a model: who moved which version where, when and why, and the current stages."""

from dataclasses import asdict
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from storage.records import Action, Move, MoveState
from storage.registry.client import STAGES, Registry
from storage.registry.transitions import read_moves

BY_HAND: Literal["by hand"] = "by hand"


class MoveDocument(BaseModel):
    """A move as `history`, `promote` and `rollback` print it with ``--json``.

    Attributes
    ----------
    candidate, incumbent
        Scores by `metric` on the same `rows`; ``None`` if the move was not judged by scores.
    interval
        95% confidence interval of candidate minus incumbent.
    """

    model_config = ConfigDict(frozen=True, serialize_by_alias=True)

    time: str | None = None
    action: Action | Literal["by hand"]
    version: int | None
    origin: str | None = Field(None, alias="from")
    to: str
    user: str | None = None
    reason: str | None = None
    candidate: float | None = None
    incumbent: float | None = None
    incumbent_version: int | None = None
    metric: str | None = None
    interval: tuple[float, float] | None = None
    rows: int | None = None
    verdict: str | None = None
    state: MoveState

    @classmethod
    def of(cls, move: Move) -> Self:
        """Make the document of a recorded move."""
        found = move.judgement
        scores = {} if found is None else asdict(found)
        return cls.model_validate(
            {
                "time": move.time,
                "action": move.action,
                "version": move.version,
                "from": move.origin,
                "to": move.stage,
                "user": move.user,
                "reason": move.reason,
                "incumbent_version": move.incumbent,
                "state": move.state,
                **scores,
            }
        )


class StageDocument(BaseModel):
    """The version in a stage, and the one that the stage's alias points to."""

    model_config = ConfigDict(frozen=True)

    version: int | None
    alias: int | None


class History(BaseModel):
    """The document that `history` prints with ``--json``; moves are sorted oldest first."""

    model_config = ConfigDict(frozen=True)

    model: str
    moves: list[MoveDocument]
    now: dict[str, StageDocument]
    format_version: Literal[1] = 1


def history(registry: Registry, model: str) -> History:
    """Return a model's history.

    Changes that Grovekeeper did not make, for example in the MLflow UI, are inferred: the next
    recorded move, or the current stage, has another version than the previous move. Their time is
    unknown.

    Raises
    ------
    NotFoundError
        If there is no such model.
    """
    versions = registry.versions(model)
    current: dict[str, int | None] = dict.fromkeys(STAGES)
    moves: list[MoveDocument] = []
    for move in read_moves(registry, model):
        if move.incumbent != current[move.stage]:
            moves.append(_by_hand(move.incumbent, move.stage))
            current[move.stage] = move.incumbent
        moves.append(MoveDocument.of(move))
        if move.state == "done":
            for stage, number in current.items():
                if number == move.version:
                    current[stage] = None
            current[move.stage] = move.version
    now: dict[str, StageDocument] = {}
    for stage in STAGES:
        staged = [v.version for v in versions if v.stage == stage]
        aliased = [v.version for v in versions if stage.lower() in v.aliases]
        now[stage] = StageDocument(
            version=staged[-1] if staged else None, alias=aliased[0] if aliased else None
        )
        if now[stage].version != current[stage] and not _is_open(moves, stage):
            moves.append(_by_hand(now[stage].version, stage))
    return History(model=model, moves=moves, now=now)


def _is_open(moves: list[MoveDocument], stage: str) -> bool:
    """Whether a move to a stage was recorded but not completed."""
    return any(move.to == stage and move.state == "open" for move in moves)


def _by_hand(version: int | None, stage: str) -> MoveDocument:
    return MoveDocument(action=BY_HAND, version=version, to=stage, state="done")

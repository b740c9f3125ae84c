"""Promotes a version to a stage if the gate passes it, and rolls a stage back."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from search.data.dataset import load_again
from search.environment import installed
from search.errors import StudyError, UsageError
from search.model.fingerprint import fingerprint
from search.model.model_card import describe
from search.model.provenance import REFIT_TAG
from search.model.registration import register
from search.model.serialization import LoadedModel, load_model
from search.promotion.evaluation import Criteria, Evaluation, evaluate_candidate
from search.promotion.versions import choose, in_stage, scores
from storage.errors import NotFoundError, StorageError
from storage.records import Judgement, ModelVersion, Move, Stage
from storage.registry.client import STAGES, Registry
from storage.registry.transitions import REASON_LENGTH, new_move, read_moves, record, settle

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PromotionRequest:
    """A user's request to promote a version.

    Attributes
    ----------
    version
        Number of the version; ``None`` for the best on the hold-out.
    stage
        The stage to move it to.
    criteria
        Criteria of the gate.
    data, query
        Where the version's table is now, if it was moved since its study.
    reason
        Reason for the model's history.
    force
        Move the version even if the gate refuses it or cannot judge it.
    refit_all
        Move a version that is refitted on every row instead of the version that was judged.
    """

    version: int | None = None
    stage: Stage = "Staging"
    criteria: Criteria = field(default_factory=Criteria)
    data: str | None = None
    reason: str | None = None
    force: bool = False
    refit_all: bool = False
    query: str | None = None


def promote(registry: Registry, model: str, request: PromotionRequest) -> tuple[int, Move | None]:
    """Move a version to a stage if the gate passes it; stage and alias move together.

    Returns
    -------
    version
        Number of the version that is in the stage now.
    move
        The recorded move; ``None`` if the version was in that stage already.

    Raises
    ------
    NotFoundError
        If there is no such model.
    UsageError
        If the model has no such version.
    StudyError
        If the gate refuses the version, which is recorded, or cannot judge it.
    StorageError
        If another process moved a version to the stage at the same time.
    """
    _complete_open_moves(registry, model)
    versions = registry.versions(model)
    chosen = choose(model, versions, request.version)
    if request.version is None:
        _logger.info("version %d is the best on the hold-out", chosen.version)
    incumbent = in_stage(versions, request.stage)
    target = _find_refit(versions, chosen) if request.refit_all else chosen
    if target is not None and target == incumbent:
        if request.stage.lower() not in target.aliases:
            registry.move(target, request.stage)
        return target.version, None
    if target is not None:  # a refit that does not exist yet is in no stage
        _check_production_kept(target, request.stage)
    than = f"version {incumbent.version}" if incumbent else "a constant forecast"
    _logger.info("judging version %d against %s", chosen.version, than)
    candidate = load_model(registry, chosen)
    evaluation = _evaluate(registry, versions, candidate, incumbent, request)
    for remark in evaluation.remarks:
        _logger.info("%s", remark)
    move = new_move(
        chosen,
        request.stage,
        action="promote" if evaluation.passed else "force",
        incumbent=incumbent and incumbent.version,
        reason=request.reason,
        judgement=evaluation.judgement,
    )
    if not evaluation.passed and not request.force:
        refused = record(registry, model, replace(move, action="refuse", state="refused"))
        _describe(registry, candidate, refused)
        raise StudyError(
            f"{_refusal_message(refused)}. Nothing is changed; --force --reason TEXT overrides"
        )
    if request.refit_all:
        candidate = _refit(registry, versions, candidate, request)
        _logger.info(
            "version %d is version %d refitted on every row",
            candidate.version.version,
            chosen.version,
        )
        chosen = candidate.version
        move = replace(move, version=chosen.version, origin=chosen.stage)
    _check_unchanged(registry, model, chosen, incumbent, request.stage)
    return chosen.version, _carry_out(registry, candidate, move)


def _check_unchanged(
    registry: Registry,
    model: str,
    chosen: ModelVersion,
    incumbent: ModelVersion | None,
    stage: Stage,
) -> None:
    """Raise `StudyError` if the stage's version is no longer the one that was judged against."""
    versions = registry.versions(model)
    now = in_stage(versions, stage)
    if (now and now.version) != (incumbent and incumbent.version):
        raise StudyError(
            f"{stage} of {model} has changed while version {chosen.version} was judged: promote it "
            "again"
        )
    _check_production_kept(choose(model, versions, chosen.version), stage)


def rollback(registry: Registry, model: str, stage: Stage, reason: str | None) -> Move:
    """Move the previous version of a stage back into it.

    Raises
    ------
    NotFoundError
        If there is no such model.
    StudyError
        If the stage had no previous version, or its files were changed since.
    """
    _complete_open_moves(registry, model)
    versions = registry.versions(model)
    current = in_stage(versions, stage)
    by_number = {version.version: version for version in versions}
    # A version that is in another stage must stay there.
    available = [
        number
        for number in _previous_versions(read_moves(registry, model), stage, current)
        if number in by_number and by_number[number].stage in {"None", "Archived", stage}
    ]
    if not available:
        now = f"version {current.version} is" if current else "nothing is"
        raise StudyError(
            f"there is nothing to go back to: {now} in {stage} of {model}, and its history has no "
            f"previous version (see `grovekeeper history {model}`)"
        )
    chosen = by_number[available[-1]]
    loaded = load_model(registry, chosen)
    replaced = current and current.version
    move = new_move(chosen, stage, action="rollback", incumbent=replaced, reason=reason)
    return _carry_out(registry, loaded, move)


def check_reason(reason: str | None) -> str | None:
    """Return a reason in one line; raise `UsageError` if it is too long to be recorded."""
    if reason is None:
        return None
    line = " ".join(reason.split())
    if len(line) > REASON_LENGTH:
        msg = f"--reason has {len(line)} characters; the maximum is {REASON_LENGTH}"
        raise UsageError(msg)
    return line


def _previous_versions(
    moves: Sequence[Move], stage: Stage, current: ModelVersion | None
) -> list[int]:
    """Return the numbers of a stage's previous versions, the most recent one last."""
    stack: list[int] = []
    for move in moves:
        if move.stage != stage or move.state != "done":
            continue
        if move.action == "rollback":
            while stack and stack.pop() != move.version:
                pass
        stack.append(move.version)
    # If the current version was moved by hand, the last recorded one is a previous version.
    if current is not None and stack and stack[-1] == current.version:
        stack.pop()
    return stack


def _complete_open_moves(registry: Registry, model: str) -> None:
    """Complete moves that were recorded but interrupted by a crash."""
    for stage in STAGES:
        with suppress(NotFoundError):  # the model or version was deleted
            settle(registry, model, stage)


def _carry_out(registry: Registry, loaded: LoadedModel, move: Move) -> Move:
    """Record a move, carry it out, and update the version's description."""
    model = loaded.version.name
    move = record(registry, model, move)
    done = settle(registry, model, move.stage)
    if done is None or done.key != move.key:
        other = f"{done.user} moved version {done.version}" if done else "another was moved"
        raise StorageError(
            f"version {move.version} of {model} was overtaken: {other} to {move.stage} at the "
            f"same time (see `grovekeeper history {model}`)"
        )
    _describe(registry, loaded, done)
    return done


def _describe(registry: Registry, loaded: LoadedModel, last: Move) -> None:
    """Update the version's description with its last move."""
    version = loaded.version
    text = describe(loaded.provenance, scores(version), version.name, last)
    registry.describe(version, text)


def _evaluate(
    registry: Registry,
    versions: Sequence[ModelVersion],
    candidate: LoadedModel,
    incumbent: ModelVersion | None,
    request: PromotionRequest,
) -> Evaluation:
    """Judge a candidate against the incumbent; with `force`, an error becomes a remark."""
    try:
        judged = _evaluated_model(registry, versions, candidate)
        other = None
        if incumbent is not None:
            other = _evaluated_model(registry, versions, load_model(registry, incumbent))
        return evaluate_candidate(judged, other, request.criteria, request.data, request.query)
    except StudyError as error:
        if not request.force:
            text = f"{error}. To move it unjudged: --force --reason TEXT"
            raise StudyError(text) from error
        return Evaluation(
            passed=False,
            judgement=Judgement(verdict="could not be judged"),
            remarks=(f"not judged: {error}",),
        )


def _evaluated_model(
    registry: Registry, versions: Sequence[ModelVersion], loaded: LoadedModel
) -> LoadedModel:
    """Return the model whose scores apply: the original of a refit, else the model itself.

    A model that was refitted on every row has no held-out rows of its own.
    """
    by_number, version = {str(found.version): found for found in versions}, loaded.version
    while (original := by_number.get(version.tags.get(REFIT_TAG, ""))) is not None:
        version = original
    return loaded if version is loaded.version else load_model(registry, version)


def _refit(
    registry: Registry,
    versions: Sequence[ModelVersion],
    loaded: LoadedModel,
    request: PromotionRequest,
) -> LoadedModel:
    """Register a version with the same hyperparameters that is fitted on every row."""
    judged, provenance = loaded.version, loaded.provenance
    known = _find_refit(versions, judged)
    if known is not None:
        return load_model(registry, known)
    every_row = provenance.data.model_copy(update={"holdout": 0.0})
    dataset = load_again(every_row, request.data, request.query)
    if dataset.description.digest != provenance.data.digest:
        raise StudyError(
            f"{dataset.description.source} is not the table that {judged.title} was trained on, so "
            "it cannot be refitted: name that table with --data"
        )
    champion = provenance.refit(dataset)
    made = provenance.model_copy(
        update={
            "data": every_row,
            "content": fingerprint(champion.pipeline),
            "versions": installed(),
            "refit_of": judged.version,
        }
    )
    place = registry.place_of(judged.run_id)
    version = register(registry, place, judged.name, champion, dataset, made)
    return LoadedModel(version, champion.pipeline, made)


def _find_refit(versions: Sequence[ModelVersion], judged: ModelVersion) -> ModelVersion | None:
    """Return the newest refit of a version on every row; the version itself if it is a refit."""
    if REFIT_TAG in judged.tags:
        return judged
    found = [v for v in versions if v.tags.get(REFIT_TAG) == str(judged.version)]
    return found[-1] if found else None


def _check_production_kept(version: ModelVersion, stage: Stage) -> None:
    """Raise `StudyError` if moving a version would leave Production empty."""
    if version.stage == "Production" and stage != "Production":
        raise StudyError(
            f"{version.title} is in Production, and a version has one "
            f"stage: moving it to {stage} would leave Production empty. Promote another there first"
        )


def _refusal_message(move: Move) -> str:
    found = move.judgement
    text = f"version {move.version} is refused for {move.stage}"
    if found is None or found.candidate is None:
        return text
    than = f" (version {move.incumbent})" if move.incumbent else ""
    return (
        f"{text}: {found.verdict}; {found.metric} {found.candidate:.5g} against "
        f"{found.incumbent:.5g}{than} on {found.rows} held-out rows"
    )

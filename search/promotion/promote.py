"""Promotion: which version stands for a model, through the gate into a stage, and back."""

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
from search.promotion.evaluation import Assessment, Rules, assess
from search.promotion.versions import choose, in_stage, scores
from storage.errors import NotFoundError, StorageError
from storage.records import Judgement, ModelVersion, Move, Stage
from storage.registry.client import STAGES, Registry
from storage.registry.transitions import REASON_LENGTH, new_move, read_moves, record, settle

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What a person asks for.

    Attributes
    ----------
    version
        ``None`` for the best on the hold-out.
    data, query
        Where the version's table stands now, if not where its study found it.
    force
        Move it even where the gate refuses it, or cannot judge it.
    refit_all
        Move a version refitted on every row instead of the one that was judged.
    """

    version: int | None = None
    stage: Stage = "Staging"
    rules: Rules = field(default_factory=Rules)
    data: str | None = None
    reason: str | None = None
    force: bool = False
    refit_all: bool = False
    query: str | None = None


def promote(registry: Registry, model: str, request: Request) -> tuple[int, Move | None]:
    """Move a version to a stage if the gate lets it pass; stage and alias move together.

    Returns
    -------
    the version's number, and what is on record now; ``None`` where it was in that stage already

    Raises
    ------
    NotFoundError
        When there is no such model.
    UsageError
        When it has no such version.
    StudyError
        When the gate refuses the version, which is on record then, or it cannot be judged.
    """
    _complete(registry, model)
    versions = registry.versions(model)
    chosen = choose(model, versions, request.version)
    if request.version is None:
        _logger.info("version %d is the best on the hold-out", chosen.version)
    holder = in_stage(versions, request.stage)
    target = _refitted(versions, chosen) if request.refit_all else chosen
    if target is not None and target == holder:
        if request.stage.lower() not in target.aliases:
            registry.move(target, request.stage)
        return target.version, None
    if target is not None:  # a refit that is yet to be made is in no stage
        _keep_production(target, request.stage)
    than = f"version {holder.version}" if holder else "a constant forecast"
    _logger.info("judging version %d against %s", chosen.version, than)
    candidate = load_model(registry, chosen)
    found = _judge(registry, versions, candidate, holder, request)
    for remark in found.remarks:
        _logger.info("%s", remark)
    move = new_move(
        chosen,
        request.stage,
        action="promote" if found.passed else "force",
        incumbent=holder and holder.version,
        reason=request.reason,
        judgement=found.judgement,
    )
    if not found.passed and not request.force:
        refused = record(registry, model, replace(move, action="refuse", state="refused"))
        _describe(registry, candidate, refused)
        raise StudyError(f"{_said(refused)}. Nothing is changed; --force --reason TEXT overrides")
    if request.refit_all:
        candidate = _refit(registry, versions, candidate, request)
        _logger.info(
            "version %d is version %d refitted on every row",
            candidate.version.version,
            chosen.version,
        )
        chosen = candidate.version
        move = replace(move, version=chosen.version, origin=chosen.stage)
    _check_unchanged(registry, model, chosen, holder, request.stage)
    return chosen.version, _carry_out(registry, candidate, move)


def _check_unchanged(
    registry: Registry, model: str, chosen: ModelVersion, holder: ModelVersion | None, stage: Stage
) -> None:
    """Raise `StudyError` where a stage is not as it was when a version was judged against it."""
    versions = registry.versions(model)
    now = in_stage(versions, stage)
    if (now and now.version) != (holder and holder.version):
        raise StudyError(
            f"{stage} of {model} has changed while version {chosen.version} was judged: promote it "
            "again"
        )
    _keep_production(choose(model, versions, chosen.version), stage)


def rollback(registry: Registry, model: str, stage: Stage, reason: str | None) -> Move:
    """Put back the version that stood in a stage before the one that the record has there.

    Raises
    ------
    NotFoundError
        When there is no such model.
    StudyError
        When nothing stood there before, or its files were changed since.
    """
    _complete(registry, model)
    versions = registry.versions(model)
    holder = in_stage(versions, stage)
    there = {version.version: version for version in versions}
    stack = _stack(read_moves(registry, model), stage, holder)
    before = [n for n in stack if n in there and there[n].stage in {"None", "Archived", stage}]
    if not before:
        now = f"version {holder.version} is" if holder else "nothing is"
        raise StudyError(
            f"there is nothing to go back to: {now} in {stage} of {model}, and the record has no "
            f"version before (see `grovekeeper history {model}`)"
        )
    chosen = there[before[-1]]
    loaded = load_model(registry, chosen)
    before_it = holder and holder.version
    move = new_move(chosen, stage, action="rollback", incumbent=before_it, reason=reason)
    return _carry_out(registry, loaded, move)


def check_reason(reason: str | None) -> str | None:
    """Return a reason in one line; raise `UsageError` where it is too long to be recorded."""
    if reason is None:
        return None
    plain = " ".join(reason.split())
    if len(plain) > REASON_LENGTH:
        msg = f"--reason has {len(plain)} characters, and at most {REASON_LENGTH} are recorded"
        raise UsageError(msg)
    return plain


def _stack(moves: Sequence[Move], stage: Stage, holder: ModelVersion | None) -> list[int]:
    """Return the versions that one can go back to, the nearest last."""
    stack: list[int] = []
    for move in moves:
        if move.stage != stage or move.state != "done":
            continue
        if move.action == "rollback":
            while stack and stack.pop() != move.version:
                pass
        stack.append(move.version)
    # What was put there by hand stands above all that is on record.
    if holder is not None and stack and stack[-1] == holder.version:
        stack.pop()
    return stack


def _complete(registry: Registry, model: str) -> None:
    """Complete what a crash left half done."""
    for stage in STAGES:
        with suppress(NotFoundError):  # model or version is gone: there is nothing to complete
            settle(registry, model, stage)


def _carry_out(registry: Registry, loaded: LoadedModel, move: Move) -> Move:
    model = loaded.version.name
    move = record(registry, model, move)
    done = settle(registry, model, move.stage)
    if done is None or done.key != move.key:
        others = f"{done.user} moved version {done.version}" if done else "another was moved"
        raise StorageError(
            f"version {move.version} of {model} was overtaken: {others} to {move.stage} at the "
            f"same time (see `grovekeeper history {model}`)"
        )
    _describe(registry, loaded, done)
    return done


def _describe(registry: Registry, loaded: LoadedModel, last: Move) -> None:
    """Tell on the version's page what was done with it."""
    version = loaded.version
    text = describe(loaded.provenance, scores(version), version.name, last)
    registry.describe(version, text)


def _judge(
    registry: Registry,
    versions: Sequence[ModelVersion],
    candidate: LoadedModel,
    holder: ModelVersion | None,
    request: Request,
) -> Assessment:
    try:
        judged = _judged_for(registry, versions, candidate)
        incumbent = None
        if holder is not None:
            incumbent = _judged_for(registry, versions, load_model(registry, holder))
        return assess(judged, incumbent, request.rules, request.data, request.query)
    except StudyError as error:
        if not request.force:
            text = f"{error}. To move it unjudged: --force --reason TEXT"
            raise StudyError(text) from error
        return Assessment(
            passed=False,
            judgement=Judgement(verdict="could not be judged"),
            remarks=(f"not judged: {error}",),
        )


def _judged_for(
    registry: Registry, versions: Sequence[ModelVersion], loaded: LoadedModel
) -> LoadedModel:
    """Return the version that was judged for one that was refitted on every row; or itself."""
    there, version = {str(found.version): found for found in versions}, loaded.version
    while (judged := there.get(version.tags.get(REFIT_TAG, ""))) is not None:
        version = judged
    return loaded if version is loaded.version else load_model(registry, version)


def _refit(
    registry: Registry, versions: Sequence[ModelVersion], loaded: LoadedModel, request: Request
) -> LoadedModel:
    """Register a version of the same hyperparameters that was grown on every row."""
    judged, provenance = loaded.version, loaded.provenance
    known = _refitted(versions, judged)
    if known is not None:
        return load_model(registry, known)
    every_row = provenance.data.model_copy(update={"holdout": 0.0})
    dataset = load_again(every_row, request.data, request.query)
    if dataset.description.digest != provenance.data.digest:
        raise StudyError(
            f"{dataset.description.source} is not the table that {judged.title} learned from: it "
            "cannot be refitted on it; name that one with --data"
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


def _refitted(versions: Sequence[ModelVersion], judged: ModelVersion) -> ModelVersion | None:
    """Return the version that was refitted on every row after this one was judged, if one was."""
    if REFIT_TAG in judged.tags:  # it is one
        return judged
    found = [v for v in versions if v.tags.get(REFIT_TAG) == str(judged.version)]
    return found[-1] if found else None


def _keep_production(version: ModelVersion, stage: Stage) -> None:
    if version.stage == "Production" and stage != "Production":
        raise StudyError(
            f"{version.title} is in Production, and a version has one "
            f"stage: moving it to {stage} would leave Production empty. Promote another there first"
        )


def _said(move: Move) -> str:
    found = move.judgement
    text = f"version {move.version} is refused for {move.stage}"
    if found is None or found.candidate is None:
        return text
    than = f" (version {move.incumbent})" if move.incumbent else ""
    return (
        f"{text}: {found.verdict}; {found.metric} {found.candidate:.5g} against "
        f"{found.incumbent:.5g}{than} on {found.rows} held-out rows"
    )

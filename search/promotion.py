"""Promotion: which version stands for a model, and moving it to a stage."""

from collections.abc import Sequence
from dataclasses import dataclass

from search.errors import UsageError
from search.metrics import METRICS
from storage.records import ModelVersion
from storage.registry import Registry, Stage

# Tags of a registered version.
STUDY_TAG = "grovekeeper.study"
UID_TAG = "grovekeeper.study_uid"
TRIAL_TAG = "grovekeeper.trial"
TREES_TAG = "grovekeeper.trees"
DIGEST_TAG = "grovekeeper.data_digest"
TARGET_TAG = "grovekeeper.target"
METRIC_TAG = "grovekeeper.metric"
SHA_TAG = "grovekeeper.model_sha256"
HOLDOUT_PREFIX = "grovekeeper.holdout_"


@dataclass(frozen=True)
class Promotion:
    """What was moved, and what stood in the stage before."""

    version: ModelVersion
    stage: Stage
    before: ModelVersion | None
    metric: str | None
    score: float | None


def holdout_score(version: ModelVersion) -> float | None:
    """The version's hold-out score in its own metric; ``None`` where no row was held out."""
    text = version.tags.get(HOLDOUT_PREFIX + version.tags.get(METRIC_TAG, ""))
    return None if text is None else float(text)


def best_version(versions: Sequence[ModelVersion]) -> ModelVersion:
    """Return the version with the best hold-out score among those of the newest's data and metric.

    Of equal scores the newer counts; without any hold-out score, the newest version does.

    Parameters
    ----------
    versions
        One or more, oldest first.
    """
    newest = versions[-1]
    same = [
        version
        for version in versions
        if all(version.tags.get(t) == newest.tags.get(t) for t in (DIGEST_TAG, METRIC_TAG))
    ]
    scored = [(score, v) for v in same if (score := holdout_score(v)) is not None]
    metric = METRICS.get(newest.tags.get(METRIC_TAG, ""))
    if not scored or metric is None:
        return newest
    sign = 1 if metric.direction == "maximize" else -1
    return max(scored, key=lambda pair: (sign * pair[0], pair[1].version))[1]


def promote(registry: Registry, model: str, version: int | None, stage: Stage) -> Promotion:
    """Move a version of `model` to `stage`, stage and alias together; older holders are archived.

    Raises
    ------
    NotFoundError
        When there is no such model.
    UsageError
        When it has no such version.
    """
    versions = registry.versions(model)
    if version is None:
        chosen = best_version(versions)
    else:
        matching = [v for v in versions if v.version == version]
        if not matching:
            numbers = ", ".join(str(v.version) for v in versions[-20:])
            raise UsageError(f"{model} has no version {version}: there are {numbers}")
        chosen = matching[0]
    before = next((v for v in versions if v.stage == stage and v != chosen), None)
    registry.move(chosen, stage)
    score = holdout_score(chosen)
    return Promotion(chosen, stage, before, chosen.tags.get(METRIC_TAG), score)

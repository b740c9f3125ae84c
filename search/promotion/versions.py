"""Selects versions of a model, and reads their hold-out scores from their tags."""

from collections.abc import Sequence

from search.errors import UsageError
from search.forest.metrics import METRICS
from search.model.provenance import (
    DIGEST_TAG,
    HOLDOUT_PREFIX,
    METRIC_TAG,
    ROLES_TAG,
    SHARE_TAG,
    TARGET_TAG,
)
from storage.records import ModelVersion, Stage

# Hold-out scores are comparable if all of these tags are equal.
_COMPARED = (DIGEST_TAG, TARGET_TAG, METRIC_TAG, ROLES_TAG)


def choose(model: str, versions: Sequence[ModelVersion], wanted: int | None) -> ModelVersion:
    """Return the version with a number, or the best one; raise `UsageError` if it is missing."""
    if wanted is None:
        return best_version(versions)
    matching = [v for v in versions if v.version == wanted]
    if not matching:
        numbers = ", ".join(str(v.version) for v in versions[-20:])
        raise UsageError(f"{model} has no version {wanted}: there are {numbers}")
    return matching[0]


def in_stage(versions: Sequence[ModelVersion], stage: Stage) -> ModelVersion | None:
    """Return the version in a stage; the newest if several were moved there by hand."""
    return next((v for v in reversed(versions) if v.stage == stage), None)


def scores(version: ModelVersion) -> dict[str, float]:
    """Return a version's hold-out scores by metric."""
    return {
        name.removeprefix(HOLDOUT_PREFIX): float(text)
        for name, text in version.tags.items()
        if name.startswith(HOLDOUT_PREFIX)
    }


def holdout_score(version: ModelVersion) -> float | None:
    """Return a version's hold-out score in its own metric; ``None`` if no row was held out."""
    return scores(version).get(version.tags.get(METRIC_TAG, ""))


def best_version(versions: Sequence[ModelVersion]) -> ModelVersion:
    """Return the version with the best hold-out score among those comparable with the newest.

    Versions are comparable if they have the same table, target, metric, column roles and hold-out
    fraction. Among equal scores, the newer version is the best. If no version has a score, the
    newest one is returned.

    Parameters
    ----------
    versions
        At least one version, oldest first.
    """
    newest = versions[-1]
    comparable = [
        version
        for version in versions
        if all(version.tags.get(t) == newest.tags.get(t) for t in _COMPARED)
    ]
    scored = [(score, v) for v in comparable if (score := holdout_score(v)) is not None]
    # Another hold-out fraction means other rows. Refitted versions have no score.
    share = scored[-1][1].tags.get(SHARE_TAG) if scored else None
    scored = [pair for pair in scored if pair[1].tags.get(SHARE_TAG) == share]
    metric = METRICS.get(newest.tags.get(METRIC_TAG, ""))
    if not scored or metric is None:
        return newest
    sign = 1 if metric.direction == "maximize" else -1
    return max(scored, key=lambda pair: (sign * pair[0], pair[1].version))[1]

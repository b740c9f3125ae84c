"""Logs a champion as a model and registers it: one version a study's best trial, never two."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from search import packaging
from search.champion import Champion
from search.problem import Problem
from search.promotion import (
    DIGEST_TAG,
    HOLDOUT_PREFIX,
    METRIC_TAG,
    SHA_TAG,
    STUDY_TAG,
    TARGET_TAG,
    TREES_TAG,
    TRIAL_TAG,
    UID_TAG,
)
from storage.records import ModelVersion
from storage.registry import Registry, folder_digest
from storage.tracking import Mirror


def find_version(
    registry: Registry, problem: Problem, study_uid: str, trial: int, trees: int
) -> ModelVersion | None:
    """Return the version that an earlier launch registered for this champion, if it did."""
    return registry.find(problem.spec.model, _identity(problem, study_uid, trial, trees))


def register(
    registry: Registry,
    problem: Problem,
    champion: Champion,
    study_uid: str,
    trial: int,
    mirror: Mirror,
    check: Callable[[], None],
) -> ModelVersion:
    """Log the champion as a model of the study's run, and register it with its tags.

    Parameters
    ----------
    study_uid, trial
        The study's identity and the number of its best trial.
    mirror
        Knows the study's run.
    check
        Called before each write; raises where this process may no longer write.
    """
    from mlflow.models import Model

    model = registry.new_model(mirror.experiment_id, mirror.run_id, "model")
    with tempfile.TemporaryDirectory(prefix="grovekeeper-") as temporary:
        folder = Path(temporary) / "model"
        about = Model(
            artifact_path=model.artifact_location,
            run_id=mirror.run_id,
            model_uuid=model.model_id,
            model_id=model.model_id,
        )
        try:
            packaging.save_model(champion.pipeline, problem.dataset, folder, about)
        except Exception:
            registry.give_up(model)
            raise
        digest = folder_digest(folder)
        check()
        registry.log_folder(model, folder)
    tags = _identity(problem, study_uid, trial, champion.trees) | {
        STUDY_TAG: problem.spec.study,
        TARGET_TAG: problem.dataset.target,
        METRIC_TAG: problem.metric.name,
        SHA_TAG: digest,
    }
    tags |= {HOLDOUT_PREFIX + name: repr(value) for name, value in champion.holdout.items()}
    check()
    return registry.register(
        problem.spec.model,
        model,
        tags,
        f"Trial {trial} of study {problem.spec.study}, refitted with {champion.trees} trees.",
    )


def _identity(problem: Problem, study_uid: str, trial: int, trees: int) -> dict[str, str]:
    return {
        UID_TAG: study_uid,
        TRIAL_TAG: str(trial),
        TREES_TAG: str(trees),
        DIGEST_TAG: problem.dataset.digest,
    }

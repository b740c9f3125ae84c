"""Logs a champion as a model and registers it: one version a study's best trial, never two."""

import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from search import packaging
from search.champion import Champion
from search.errors import StudyError
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
from storage.errors import DatabaseError
from storage.mlflow_store import explain
from storage.records import ModelVersion
from storage.registry import Registry, folder_digest
from storage.tracking import Mirror

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

T = TypeVar("T")

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 5.0
# Seconds for which MLflow may stumble.
_PATIENCE = 60.0


class Registration:
    """Registers a study's champion: one version, whatever fails on the way.

    Where MLflow stumbles it is tried again for a minute, after a look at what got through.

    Parameters
    ----------
    study_uid
        The study's identity.
    mirror
        Knows the study's run.
    check
        Called before each write; raises where this process may no longer write.
    say
        Told once when MLflow stumbles.
    """

    def __init__(
        self,
        problem: Problem,
        study_uid: str,
        mirror: Mirror,
        check: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self._problem = problem
        self._study_uid = study_uid
        self._mirror = mirror
        self._check = check
        self._say = say

    @cached_property
    def _registry(self) -> Registry:
        return Registry(self._mirror.tracking_uri)

    def find(self, trial: int, trees: int) -> ModelVersion | None:
        """Return the version that was registered for this champion, if one was.

        Raises
        ------
        StudyError
            When MLflow did not recover within a minute.
        """
        return self._patiently(lambda: self._find(trial, trees))

    def register(self, champion: Champion, trial: int) -> ModelVersion:
        """Log the champion as a model of the study's run, and register it with its tags.

        Raises
        ------
        StudyError
            When MLflow did not recover within a minute, or the champion cannot be saved.
        """
        return self._patiently(
            lambda: self._find(trial, champion.trees) or self._register(champion, trial)
        )

    def _find(self, trial: int, trees: int) -> ModelVersion | None:
        return self._registry.find(self._problem.spec.model, self._identity(trial, trees))

    def _identity(self, trial: int, trees: int) -> dict[str, str]:
        return {
            UID_TAG: self._study_uid,
            TRIAL_TAG: str(trial),
            TREES_TAG: str(trees),
            DIGEST_TAG: self._problem.dataset.digest,
        }

    def _register(self, champion: Champion, trial: int) -> ModelVersion:
        from mlflow.exceptions import MlflowException

        spec, dataset = self._problem.spec, self._problem.dataset
        model = self._registry.new_model(self._mirror.experiment_id, self._mirror.run_id, "model")
        try:
            digest = self._log(champion, model)
        except Exception:
            with suppress(MlflowException, OSError):
                self._registry.give_up(model)
            raise
        tags = self._identity(trial, champion.trees) | {
            STUDY_TAG: spec.study,
            TARGET_TAG: dataset.target,
            METRIC_TAG: self._problem.metric.name,
            SHA_TAG: digest,
        }
        tags |= {HOLDOUT_PREFIX + name: repr(value) for name, value in champion.holdout.items()}
        self._check()
        text = f"Trial {trial} of study {spec.study}, refitted with {champion.trees} trees."
        return self._registry.register(spec.model, model, tags, text)

    def _log(self, champion: Champion, model: "LoggedModel") -> str:
        """Log a champion's files; return their digest."""
        with tempfile.TemporaryDirectory(prefix="grovekeeper-") as temporary:
            folder = Path(temporary) / "model"
            _save(self._problem, champion, model, folder)
            self._check()
            self._registry.log_folder(model, folder)
            return folder_digest(folder)

    def _patiently(self, act: Callable[[], T]) -> T:
        from mlflow.exceptions import MlflowException

        began, pause = time.monotonic(), _FIRST_PAUSE
        while True:
            try:
                return act()
            except (MlflowException, OSError, DatabaseError) as error:
                reason = str(explain(self._mirror.tracking_uri, error))
                if time.monotonic() - began > _PATIENCE:
                    msg = f"the champion is not registered: {reason}. The same launch again does it"
                    raise StudyError(msg) from error
                if pause == _FIRST_PAUSE:
                    self._say(f"the champion is not registered yet: {reason}; trying again")
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


def _save(problem: Problem, champion: Champion, model: "LoggedModel", folder: Path) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    about = Model(
        artifact_path=model.artifact_location,
        run_id=model.source_run_id,
        model_uuid=model.model_id,
        model_id=model.model_id,
    )
    try:
        packaging.save_model(champion.pipeline, problem.dataset, folder, about)
    except MlflowException as error:
        raise StudyError(f"the champion cannot be saved: {error}") from error

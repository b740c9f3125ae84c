"""Logs a champion as a model and registers it, as exactly one version."""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from search.data.dataset import Dataset
from search.errors import StudyError
from search.forest.metrics import METRICS
from search.model import serialization
from search.model.champion import Champion
from search.model.diagnostics import Diagnostics
from search.model.model_card import describe
from search.model.plots import artifact_path, save_plots
from search.model.provenance import Provenance, identity_tags
from search.study.problem import Problem
from storage.errors import DatabaseError, PermanentError, TooLargeError
from storage.records import ModelVersion
from storage.redaction import cause_of
from storage.registry.client import Registry, folder_digest
from storage.retry import retry
from storage.tracking.failures import explain
from storage.tracking.mirror import Mirror

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

T = TypeVar("T")

# Seconds for which failed calls of MLflow are retried.
_TIMEOUT = 60.0
_SMALLER = (
    " or make the model smaller: fewer --trees, or a new study with a larger min_samples_leaf in "
    "[space]"
)


class Registration:
    """Registers a study's champion as one version, even if a step fails.

    Steps that MLflow fails are retried for a minute if a retry can help. Before registering again,
    the registry is searched for a version that an earlier attempt registered.

    Parameters
    ----------
    study_uid
        Identifies the study, also among studies with the same name.
    mirror
        The mirror that has the study's run.
    check
        Called before each write; raises if this process may no longer write.
    """

    def __init__(
        self,
        problem: Problem,
        study_uid: str,
        mirror: Mirror,
        check: Callable[[], None],
    ) -> None:
        self._problem = problem
        self._study_uid = study_uid
        self._mirror = mirror
        self._check = check

    @cached_property
    def _registry(self) -> Registry:
        return Registry(self._mirror.tracking_uri)

    def find(self, trial: int, trees: int) -> ModelVersion | None:
        """Return the version that was registered for this champion, if there is one.

        Raises
        ------
        StudyError
            If MLflow did not recover within a minute, or the study's run was deleted.
        """
        return self._retry(lambda: self._find(trial, trees))

    def register(
        self, champion: Champion, trial: int, findings: Diagnostics | None = None
    ) -> ModelVersion:
        """Log the champion as a model of the study's run, and register it with its tags.

        Parameters
        ----------
        findings
            Results on the hold-out, whose plots are logged with the model.

        Raises
        ------
        StudyError
            If MLflow did not recover within a minute, the study's run was deleted, or the champion
            cannot be saved.
        """
        found = self._retry(lambda: self._find(trial, champion.trees))
        return found or self._register(champion, trial, findings)

    def _find(self, trial: int, trees: int) -> ModelVersion | None:
        spec, digest = self._problem.spec, self._problem.dataset.description.digest
        identity = identity_tags(self._study_uid, trial, trees, digest, spec.holdout)
        return self._registry.find(spec.model, identity)

    def _register(
        self, champion: Champion, trial: int, findings: Diagnostics | None
    ) -> ModelVersion:
        return register(
            self._registry,
            (self._mirror.experiment_id, self._mirror.run_id),
            self._problem.spec.model,
            champion,
            self._problem.dataset,
            Provenance.from_champion(champion, self._problem, self._study_uid, trial),
            self._retry,
            findings,
        )

    def _retry(self, act: Callable[[], T]) -> T:
        from mlflow.exceptions import MlflowException

        def attempt() -> T:
            self._check()
            self._mirror.check_active()
            return act()

        def explained(error: Exception) -> DatabaseError:
            return explain(self._mirror.tracking_uri, error)

        errors = (MlflowException, OSError, DatabaseError)
        try:
            return retry(
                attempt,
                errors,
                timeout=_TIMEOUT,
                give_up=lambda error: isinstance(explained(error), PermanentError),
                describe=lambda error: f"the champion is not registered yet: {explained(error)}",
            )
        except errors as error:
            smaller = _SMALLER if isinstance(error, TooLargeError) else ""
            msg = f"the champion is not registered: {explained(error)}{smaller}"
            raise StudyError(f"{msg}. Launch again to register it") from error


def register(
    registry: Registry,
    place: tuple[str, str],
    name: str,
    champion: Champion,
    dataset: Dataset,
    provenance: Provenance,
    attempt: Callable[[Callable[[], Any]], Any] = lambda act: act(),
    findings: Diagnostics | None = None,
) -> ModelVersion:
    """Log a champion as a model of a run, and register it as the next version of `name`.

    Parameters
    ----------
    place
        Ids of the experiment and of the run.
    attempt
        Runs one step and may retry it: every step is idempotent.
    findings
        Results on the hold-out, whose plots are logged with the model.

    Raises
    ------
    StudyError
        If the champion cannot be saved.
    """
    from mlflow.exceptions import MlflowException

    model = attempt(lambda: registry.new_model(*place, "model"))
    try:
        with tempfile.TemporaryDirectory(prefix="grovekeeper-") as temporary:
            folder, pictures = Path(temporary) / "model", Path(temporary) / "pictures"
            _save(champion, dataset, provenance, model, folder)
            attempt(lambda: registry.log_folder(model, folder))
            if findings is not None:
                pictures.mkdir()
                save_plots(findings, dataset, METRICS[provenance.metric], pictures)
                beside = artifact_path(provenance.trial)
                attempt(lambda: registry.log_pictures(place[1], pictures, beside))
            tags = provenance.tags(champion.holdout, folder_digest(folder))
    except Exception:
        with suppress(MlflowException, OSError):
            registry.give_up(model)
        raise
    text = describe(provenance, champion.holdout, name)
    version: ModelVersion = attempt(
        lambda: registry.find(name, tags) or registry.register(name, model, tags, text)
    )
    return version


def _save(
    champion: Champion,
    dataset: Dataset,
    provenance: Provenance,
    model: "LoggedModel",
    folder: Path,
) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    about = Model(
        artifact_path=model.artifact_location,
        run_id=model.source_run_id,
        model_uuid=model.model_id,
        model_id=model.model_id,
        metadata=provenance.metadata(),
    )
    try:
        serialization.save_model(champion.pipeline, dataset, folder, about)
    except MlflowException as error:
        raise StudyError(f"the champion cannot be saved: {cause_of(error)}") from error

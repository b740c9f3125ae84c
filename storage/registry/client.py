"""The model registry: versions, stages and aliases. Only this module calls MLflow's stages.

A stage and its alias name the same version: `Staging` and `staging`, `Production` and `production`.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.addresses import StoreAddress
from storage.errors import NotFoundError, did_you_mean
from storage.records import ModelVersion, Stage
from storage.tracking import artifacts
from storage.tracking import client as mlflow_client
from storage.tracking.failures import explain, explained

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow.entities import LoggedModel

STAGES: tuple[Stage, ...] = ("Staging", "Production")
# Values of tags by which MLflow can search.
_PLAIN = re.compile("[A-Za-z0-9_.]+")
# MLflow's loaders write this file into a local model folder; it is not part of the model.
_LOADERS_NOTE = "registered_model_meta"


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 over all files of a model: their relative paths, sizes and contents."""
    digest = hashlib.sha256()
    files = {p for p in folder.rglob("*") if p.is_file()} - {folder / _LOADERS_NOTE}
    for path in sorted(files):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


class Registry:
    """The registry of one MLflow store.

    Parameters
    ----------
    page_size
        Number of models or versions that a request returns.
    """

    def __init__(self, tracking_uri: str, *, page_size: int = 1000) -> None:
        self._uri = tracking_uri
        self._page_size = page_size
        self._client = mlflow_client.connect(tracking_uri)

    def new_model(self, experiment_id: str, run_id: str, name: str) -> "LoggedModel":
        """Create a logged model of the run `run_id`; `log_folder` uploads its files."""
        return self._client.create_logged_model(experiment_id, name=name, source_run_id=run_id)

    def place_of(self, run_id: str) -> tuple[str, str]:
        """Return the ids of a run's experiment and of the run."""
        return self._client.get_run(run_id).info.experiment_id, run_id

    def give_up(self, model: "LoggedModel") -> None:
        """Mark a logged model as failed: its files were not uploaded."""
        self._client.finalize_logged_model(model.model_id, "FAILED")

    def log_folder(self, model: "LoggedModel", folder: Path) -> None:
        """Upload a model's folder and mark the model as ready.

        Raises
        ------
        TooLargeError
            When a file exceeds the server's limit on the size of a request.
        DatabaseError
            When the files cannot be stored.
        """
        from mlflow.entities import LoggedModelOutput

        artifacts.check_place(self._client, self._client.get_experiment(model.experiment_id))
        with artifacts.explained(self._uri, model.artifact_location, folder):
            self._client.log_model_artifacts(model.model_id, str(folder))
        self._client.finalize_logged_model(model.model_id, "READY")
        run_id = model.source_run_id
        if run_id is None:
            return
        outputs = self._client.get_run(run_id).outputs
        noted = {output.model_id for output in outputs.model_outputs} if outputs else set()
        # MLflow rejects an output that it has already, as when the answer to this call was lost.
        if model.model_id not in noted:
            self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])

    def log_pictures(self, run_id: str, folder: Path, name: str) -> None:
        """Upload a folder's files as artifacts of a run, below `name`."""
        if any(folder.iterdir()):
            with artifacts.explained(
                self._uri, self._client.get_run(run_id).info.artifact_uri, folder
            ):
                self._client.log_artifacts(run_id, str(folder), name)

    def register(
        self, name: str, model: "LoggedModel", tags: Mapping[str, str], description: str
    ) -> ModelVersion:
        """Register a logged model as the next version of `name`."""
        from mlflow.exceptions import MlflowException

        # If the store is a database, MLflow would resolve an address of the form models:/… in the
        # store that is set globally in this process, which may be another one. A server resolves
        # such an address in its own store.
        server = StoreAddress(self._uri).is_server
        source = f"models:/{model.model_id}" if server else model.artifact_location
        with _quiet():
            try:
                self._client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            version = self._client.create_model_version(
                name,
                source=source,
                run_id=model.source_run_id,
                tags=dict(tags),
                description=description,
                model_id=model.model_id,
            )
            # `mlflow.register_model` sets the same tag; the UI links model and version by it.
            link = json.dumps([{"name": name, "version": version.version}])
            self._client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": link})
        return _version(version, ())

    def download(self, version: ModelVersion, folder: Path) -> Path:
        """Copy a version's files into a new folder below `folder`, and return its path.

        Raises
        ------
        DatabaseError
            When the files cannot be downloaded.
        """
        from mlflow.artifacts import download_artifacts

        with explained(self._uri):
            source = self._client.get_model_version_download_uri(version.name, str(version.version))
        with artifacts.explained(self._uri, source):
            path = download_artifacts(
                artifact_uri=source, dst_path=str(folder), tracking_uri=self._uri
            )
        return Path(path)

    def versions(self, name: str) -> list[ModelVersion]:
        """Return all versions of a model, oldest first.

        Raises
        ------
        NotFoundError
            When the model does not exist or has no version.
        """
        found = self._search(name, {})
        if not found:
            raise self._not_found(name)
        return found

    def find(self, name: str, tags: Mapping[str, str]) -> ModelVersion | None:
        """Return the newest version of `name` that has all of `tags`."""
        # A filter of MLflow cannot quote every value, such as the name of a target.
        plain = {key: value for key, value in tags.items() if _PLAIN.fullmatch(value)}
        try:
            found = self._search(name, plain)
        except NotFoundError:
            return None
        matching = [version for version in found if tags.items() <= version.tags.items()]
        return matching[-1] if matching else None

    def move(self, version: ModelVersion, stage: Stage) -> None:
        """Move a version and the stage's alias to `stage`, and archive the stage's old version."""
        number = str(version.version)
        with _quiet():
            self._client.transition_model_version_stage(
                version.name, number, stage, archive_existing_versions=True
            )
            self._client.set_registered_model_alias(version.name, stage.lower(), number)

    def remove_alias(self, name: str, stage: Stage) -> None:
        """Remove a stage's alias from the version that has it."""
        with _quiet():
            self._client.delete_registered_model_alias(name, stage.lower())

    def describe(self, version: ModelVersion, text: str) -> None:
        """Replace a version's description."""
        self._client.update_model_version(version.name, str(version.version), text)

    def tags(self, name: str) -> dict[str, str]:
        """Return the tags of a registered model.

        Raises
        ------
        NotFoundError
            When the model does not exist.
        """
        return dict(self._model(name).tags)

    def set_tag(self, name: str, key: str, value: str) -> None:
        """Set a tag of a registered model, replacing the value that it has."""
        self._client.set_registered_model_tag(name, key, value)

    def _model(self, name: str) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            with _quiet():
                return self._client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise self._not_found(name) from error
            raise explain(self._uri, error) from error

    def _not_found(self, name: str) -> NotFoundError:
        names = self.names()
        known = ", ".join(names) or "none yet"
        return NotFoundError(
            f"there is no model '{name}' with a version{did_you_mean(name, names)}: registered "
            f"models: {known}"
        )

    def _search(self, name: str, tags: Mapping[str, str]) -> list[ModelVersion]:
        """Return the versions of a model that have all tags, oldest first.

        The values of the tags must have no quotes.
        """
        aliases: dict[int, list[str]] = {}
        for alias, number in self._model(name).aliases.items():
            aliases.setdefault(int(number), []).append(alias)
        parts = [f"name = '{name}'", *(f"tags.`{key}` = '{text}'" for key, text in tags.items())]
        condition = " and ".join(parts)
        with explained(self._uri), _quiet():
            found = list(
                mlflow_client.pages(
                    lambda token: self._client.search_model_versions(
                        condition, max_results=self._page_size, page_token=token
                    )
                )
            )
        versions = [_version(v, tuple(sorted(aliases.get(int(v.version), ())))) for v in found]
        return sorted(versions, key=lambda version: version.version)

    def names(self) -> list[str]:
        """Names of all registered models, sorted."""
        with _quiet():
            models = mlflow_client.pages(
                lambda token: self._client.search_registered_models(
                    max_results=self._page_size, page_token=token
                )
            )
            return sorted(model.name for model in models)


def open_registry(tracking_uri: str) -> Registry:
    """Open the registry of an existing store.

    Raises
    ------
    NotFoundError
        When the store is a SQLite file that does not exist; it is not created.
    DatabaseError
        When the store cannot be opened.
    """
    mlflow_client.check(tracking_uri)
    if mlflow_client.is_new(tracking_uri):
        msg = (
            f"there is no MLflow store at {tracking_uri} yet: run `grovekeeper launch` first, "
            "or name another with --tracking-uri"
        )
        raise NotFoundError(msg)
    registry = Registry(tracking_uri)
    try:
        registry.names()
    except Exception as error:
        raise explain(tracking_uri, error) from error
    return registry


@contextmanager
def _quiet() -> "Iterator[None]":
    """Ignore MLflow's warnings that stages are deprecated: this project's users promote to them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="mlflow")
        warnings.filterwarnings("ignore", message=".*[Ss]tages.*", category=FutureWarning)
        yield


def _version(version: Any, aliases: tuple[str, ...]) -> ModelVersion:
    return ModelVersion(
        name=version.name,
        version=int(version.version),
        stage=version.current_stage,
        aliases=aliases,
        run_id=version.run_id or "",
        tags=dict(version.tags),
    )

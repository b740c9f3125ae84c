"""Artifacts, such as models and reports: checks the place where MLflow stores them.

MLflow notes with each experiment where its artifacts are, once, when the experiment is created. A
place in a local folder is wrong after the folder was moved, and on another machine.
"""

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from storage.addresses import StoreAddress
from storage.errors import DatabaseError, PermanentError
from storage.redaction import redact
from storage.tracking import views
from storage.tracking.client import pages
from storage.tracking.failures import http_status, reason

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

# MLflow's folder for artifacts of a store that is a database, in the working directory.
DEFAULT_FOLDER = "mlruns"
_UNAVAILABLE = 503
_WHAT = "artifacts, such as models"


def check_place(client: "MlflowClient", experiment: "Experiment") -> None:
    """Check, without writing, that local artifacts of an experiment are where MLflow expects them.

    Raises
    ------
    PermanentError
        If the folder was moved or copied, or does not exist on this machine.
    """
    uri = client.tracking_uri
    with explained(uri, experiment.artifact_location):
        folder = _local_folder(uri, experiment.artifact_location)
    if folder is None:
        return
    root = folder.parent
    if StoreAddress(uri).is_server:
        if not root.is_dir():
            raise PermanentError(
                f"the MLflow server {redact(uri)} stores {_WHAT}, in {root} on its own machine: "
                "start it with --serve-artifacts and name a new --experiment, because an "
                "experiment keeps its place, or mount that folder here"
            )
        return
    now = _moved_to(client, experiment, folder)
    if now is not None and root.is_dir():
        raise PermanentError(
            f"{redact(uri)} is a copy: {_WHAT}, would be stored beside the original, in {root}. "
            "Use the original, or name a new store with --tracking-uri"
        )
    if now is not None:
        new, old = (now, root) if root.parent.is_dir() else (now.parent, root.parent)
        raise PermanentError(
            f"MLflow stores {_WHAT}, in {root}, but the folder was moved to {now}: move it back, "
            f"or link the old place to the new one with `ln -s {quote(str(new))} {quote(str(old))}`"
        )
    if not root.parent.is_dir():
        raise PermanentError(
            f"MLflow stores {_WHAT}, in {root}, but there is no folder {root.parent}: create it, "
            "or name a new --experiment, because an experiment keeps its place"
        )


def try_out(client: "MlflowClient", experiment: "Experiment") -> None:
    """Write a small artifact of an experiment, read it and delete it.

    Raises
    ------
    DatabaseError
        If that fails. The message names what is unreachable.
    """
    check_place(client, experiment)
    uri, location = client.tracking_uri, experiment.artifact_location
    folder = _local_folder(uri, location)
    if folder is not None:
        check_folder(folder)
        return
    name = f"grovekeeper-check-{uuid.uuid4().hex}"
    with tempfile.TemporaryDirectory(prefix="grovekeeper-") as temporary:
        file = Path(temporary, "check.txt")
        file.write_text(name)
        with explained(uri, location):
            repository = _open(uri, location)
            repository.log_artifact(str(file), name)
            read = repository.download_artifacts(f"{name}/{file.name}", temporary)
            if Path(read).read_text() != name:
                raise DatabaseError(f"{_where(uri, location)} returns other artifacts than it got")
            with suppress(Exception):  # deleting may be forbidden
                repository.delete_artifacts(name)


def try_out_all(client: "MlflowClient") -> None:
    """Try out the newest experiment and those with studies, each folder of theirs once.

    Raises
    ------
    DatabaseError
        If one of them cannot be used.
    """

    def search(token: str | None) -> Any:
        return client.search_experiments(order_by=["creation_time DESC"], page_token=token)

    tried = set[str]()
    for experiment in pages(search):
        if tried and not views.has_studies(experiment):
            continue
        check_place(client, experiment)
        root = experiment.artifact_location.rpartition("/")[0]
        if root not in tried:
            tried.add(root)
            try_out(client, experiment)


def check_folder(folder: Path) -> None:
    """Write, read and delete a small file in a local folder, which need not exist yet.

    Raises
    ------
    DatabaseError
        If that fails.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"check")
            file.flush()
    except OSError as error:
        raise DatabaseError(f"{_WHAT}, cannot be stored in {folder}: {error.strerror}") from error


@contextmanager
def explained(tracking_uri: str, location: str) -> Iterator[None]:
    """Convert errors while artifacts are written or read to a `DatabaseError` of one line.

    Raises
    ------
    DatabaseError
        For any error.
    """
    try:
        yield
    except DatabaseError:
        raise
    except Exception as error:  # the libraries of object stores have errors of their own
        raise _explain(tracking_uri, location, error) from error


def _explain(tracking_uri: str, location: str, error: Exception) -> DatabaseError:
    where, said = _where(tracking_uri, location), str(error)
    # MLflow's client drops the text of this answer, in which the server says so.
    if _is_served(location) and http_status(error) == _UNAVAILABLE:
        return DatabaseError(
            f"{where} does not store {_WHAT} ({_UNAVAILABLE} Service Unavailable): if it runs with "
            "--no-serve-artifacts, start it with --serve-artifacts"
        )
    if "the tracking URI must be a valid http" in said:
        return PermanentError(
            f"{_WHAT}, of this store are on its MLflow server: name the server with --tracking-uri"
        )
    local = None
    with suppress(Exception):
        local = _local_folder(tracking_uri, location)
    if local is not None and not local.exists():
        return PermanentError(
            f"there is no folder {local}: if MLflow's folder was moved, move it back, or link the "
            "old place to the new one with `ln -s NEW OLD`"
        )
    at = StoreAddress(tracking_uri if _is_served(location) else location)
    return DatabaseError(f"{_WHAT}, are not available: {where}{reason(error, at)}")


def _local_folder(tracking_uri: str, location: str) -> Path | None:
    """Return the folder of artifacts that are local files; ``None`` for all others."""
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    repository = _open(tracking_uri, location)
    if isinstance(repository, LocalArtifactRepository):
        return Path(repository.artifact_dir)
    return None


def _moved_to(client: "MlflowClient", experiment: "Experiment", folder: Path) -> Path | None:
    """Return where the folder of all artifacts is if it was moved or copied with its store."""
    from mlflow.exceptions import MlflowException

    file, root = StoreAddress(client.tracking_uri).sqlite_file, folder.parent
    if file is None:
        return None
    now = file.absolute().parent / root.name
    if not (now / folder.name).is_dir() or now.resolve() == root.resolve():
        return None
    # Another store may have used the same folder: only runs of this experiment count.
    for path in (now / folder.name).iterdir():
        with suppress(MlflowException):
            if client.get_run(path.name).info.experiment_id == experiment.experiment_id:
                return now
    return None


def _open(tracking_uri: str, location: str) -> "ArtifactRepository":
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(location, tracking_uri, tracking_uri)


def _is_served(location: str) -> bool:
    """Whether the tracking server hands the artifacts on."""
    return location.startswith("mlflow-artifacts:/") and "://" not in location


def _where(tracking_uri: str, location: str) -> str:
    if _is_served(location):
        return f"the MLflow server {redact(tracking_uri)}"
    return redact(location, is_file=True)

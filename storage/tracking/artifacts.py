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
from storage.errors import DatabaseError, PermanentError, TooLargeError
from storage.redaction import redact
from storage.tracking import views
from storage.tracking.client import pages
from storage.tracking.failures import http_status, lost_connection, reason

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

# MLflow's folder for artifacts of a store that is a database, in the working directory.
DEFAULT_FOLDER = "mlruns"
_TOO_LARGE, _UNAVAILABLE = 413, 503
_WHAT = "artifacts, such as models"
# Bytes below which an upload that was cut off was not too large.
_LARGE = 1_000_000
_LEAST = 1000


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
def explained(tracking_uri: str, location: str, folder: Path | None = None) -> Iterator[None]:
    """Convert errors while artifacts are written or read to a `DatabaseError` of one line.

    Parameters
    ----------
    folder
        The folder that is uploaded.

    Raises
    ------
    TooLargeError
        If one of its files is too large.
    DatabaseError
        For all other errors.
    """
    try:
        yield
    except DatabaseError:
        raise
    except Exception as error:  # the libraries of object stores have errors of their own
        raise _explain(tracking_uri, location, error, folder) from error


def _explain(
    tracking_uri: str, location: str, error: Exception, folder: Path | None
) -> DatabaseError:
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
    files = [] if folder is None else [path for path in folder.rglob("*") if path.is_file()]
    largest = max((path.stat().st_size for path in files), default=0)
    if http_status(error) == _TOO_LARGE and largest:
        limit = _limit(tracking_uri, location, largest)
        return TooLargeError(
            f"{where} rejects a file of {_size(largest)} (413 Request Entity Too Large): its limit "
            f"on the size of a request is {limit}. Raise it (in nginx: client_max_body_size)"
        )
    at = StoreAddress(tracking_uri if _is_served(location) else location)
    cut_off = largest >= _LARGE and lost_connection(error) is not None
    hint = f" (or a file of {_size(largest)} exceeds a limit)" if cut_off else ""
    return DatabaseError(f"{_WHAT}, are not available: {where}{reason(error, at)}{hint}")


def _limit(tracking_uri: str, location: str, rejected: int) -> str:
    """Return in words how large a request may be, by uploading smaller and smaller files."""
    repository, name = _open(tracking_uri, location), f"grovekeeper-check-{uuid.uuid4().hex}"
    size = rejected // 2
    with tempfile.TemporaryDirectory(prefix="grovekeeper-") as temporary:
        file = Path(temporary, "zeros")
        while size > _LEAST:
            with file.open("wb") as zeros:
                zeros.truncate(size)
            try:
                repository.log_artifact(str(file), name)
            except Exception as error:
                if http_status(error) != _TOO_LARGE:
                    break
                size //= 2
            else:
                with suppress(Exception):
                    repository.delete_artifacts(name)
                return f"between {_size(size)} and {_size(2 * size)}"
    return f"below {_size(2 * size)}"


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


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.3g} MB"

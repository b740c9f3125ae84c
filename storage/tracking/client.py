"""MLflow's store: check its address, open a client on it, and say in one line what went wrong."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from storage import database
from storage.addresses import StoreAddress
from storage.errors import DatabaseError, first_line
from storage.redaction import redact_text

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PING_TIMEOUT = 5.0
_importing = threading.Lock()


def connect(tracking_uri: str) -> "MlflowClient":
    """Return an MLflow client that fails within seconds and prints and reports nothing.

    The registry's store is the tracking store. What the user has set in MLflow's own environment
    variables stands, but for one: MLflow would send a request again whose answer was lost, and so
    make a second run. Here whoever tries again looks first.
    """
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    load()
    from mlflow import MlflowClient

    # MLflow keeps the stores that it has opened, by their addresses.
    tracking_uri = StoreAddress(tracking_uri).absolute
    with _making_tables(tracking_uri):
        _make_file(tracking_uri)
        return MlflowClient(tracking_uri, tracking_uri)


def pages(search: Callable[[str | None], Any]) -> Iterator[Any]:
    """Yield all that a search of MLflow's finds, which gives it page by page.

    Parameters
    ----------
    search
        Asks for the page of a token; ``None`` for the first.
    """
    token = None
    while True:
        page = search(token)
        yield from page
        token = page.token
        if not token:
            return


def default_uri() -> str:
    """Return the address of MLflow's store as MLflow is set in this process."""
    load()
    import mlflow

    return str(mlflow.get_tracking_uri())


def _be_quiet() -> None:
    """Before MLflow is imported: that is when it begins to tell its makers."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")  # the recorder tells


def load() -> None:
    """Import MLflow, or wait for the thread that is at it.

    Called before anything large is imported beside the recorder: of what two threads import at
    once one may get half a module. MLflow whose import has failed so is imported anew, whole: what
    there is of it by half would break every later try.
    """
    _be_quiet()
    with _importing:
        try:
            import mlflow
        except Exception:
            for name in [name for name in sys.modules if name.partition(".")[0] == "mlflow"]:
                del sys.modules[name]
            import mlflow  # noqa: F401


@contextmanager
def _making_tables(tracking_uri: str) -> Iterator[None]:
    """One at a time in a SQLite file's folder: two that make MLflow's tables break each other's."""
    path = StoreAddress(tracking_uri).sqlite_file
    if path is None or os.name == "nt":
        yield
        return
    import fcntl

    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _make_file(tracking_uri: str) -> None:
    """Make a new SQLite store under another name, and give it its own when it is whole.

    MLflow makes its tables in dozens of steps and in seconds; a process that is ended meanwhile
    would leave a store that MLflow can neither open nor mend.
    """
    path = StoreAddress(tracking_uri).sqlite_file
    # On Windows no open file is renamed; and what follows a question mark stands at the end.
    if path is None or path.exists() or os.name == "nt" or "?" in tracking_uri:
        return
    from mlflow import MlflowClient

    half = path.with_name(f"{path.name}.half")
    half.unlink(missing_ok=True)
    made = f"{tracking_uri}.half"
    MlflowClient(made, made)
    half.replace(path)


def is_new(tracking_uri: str) -> bool:
    """Whether the store is a SQLite file that is not there yet."""
    path = StoreAddress(tracking_uri).sqlite_file
    return path is not None and not path.exists()


def check(tracking_uri: str) -> None:
    """Check in moments, without importing MLflow and without writing, that the store can be used.

    Raises
    ------
    DatabaseError
        When a SQLite file cannot be written or a server does not answer within 5 seconds.
    """
    address = StoreAddress(tracking_uri)
    if address.is_server:
        _ping(address)
        return
    if "://" not in tracking_uri:
        raise DatabaseError(
            f"'{address}' is not an MLflow store: use, for instance, sqlite:///mlflow.db or "
            "http://host:5000 (--tracking-uri or MLFLOW_TRACKING_URI)"
        )
    address.parse()
    database.check_writable(tracking_uri)
    # MLflow itself would try for many minutes.
    database.check_reachable(tracking_uri, "--tracking-uri or MLFLOW_TRACKING_URI")


def _ping(server: StoreAddress) -> None:
    from http.client import HTTPException, InvalidURL
    from urllib.error import HTTPError
    from urllib.request import urlopen

    try:
        urlopen(f"{server.without_login}/health", timeout=_PING_TIMEOUT).close()  # noqa: S310 http(s)
    except HTTPError:
        return  # it answers; whether it lets us in, the first real call will tell
    except (InvalidURL, ValueError):
        # What is wrong with it may be within its password.
        raise DatabaseError(
            f"'{server}' is not the address of a server: in its user and password, "
            "write / as %2F, ? as %3F and # as %23"
        ) from None
    except (OSError, HTTPException) as error:
        cause = getattr(error, "reason", error)
        msg = (
            f"the MLflow server {server} does not answer ({cause}): "
            "start it, or name another store with --tracking-uri or MLFLOW_TRACKING_URI"
        )
        raise DatabaseError(msg) from error


def explain(tracking_uri: str, error: Exception) -> DatabaseError:
    """Turn whatever MLflow raised into one line that says what to do."""
    if isinstance(error, DatabaseError):
        return error
    place = StoreAddress(tracking_uri)
    text = str(error)
    if "out-of-date database schema" in text or "Can't locate revision" in text:
        return DatabaseError(
            f"{place} was made by another version of MLflow: back it up, then run "
            f"`mlflow db upgrade {place}`"
        )
    said = redact_text(first_line(error), tracking_uri.rstrip("/"))
    return DatabaseError(f"MLflow at {place}: {said} (check --tracking-uri or MLFLOW_TRACKING_URI)")


@contextmanager
def explained(tracking_uri: str) -> Iterator[None]:
    """Turn what MLflow raises within the block into a `DatabaseError` of one line."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise explain(tracking_uri, error) from error

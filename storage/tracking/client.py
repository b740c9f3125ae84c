"""Check the address of MLflow's store and open a client on it."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from storage import database
from storage.addresses import StoreAddress
from storage.errors import DatabaseError
from storage.tracking.failures import no_answer

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PING_TIMEOUT = 5.0
_importing = threading.Lock()


def connect(tracking_uri: str) -> "MlflowClient":
    """Return an MLflow client that fails within seconds, prints nothing and sends no telemetry.

    The registry's store is the tracking store. The user's settings in MLflow's environment
    variables apply, except for one: MLflow itself must not retry a request whose response was lost,
    because that would create a second run. Callers of this client look up the run before a retry.
    """
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    load()
    from mlflow import MlflowClient

    # MLflow caches open stores by address: a relative path would depend on the working directory.
    tracking_uri = StoreAddress(tracking_uri).absolute
    with _locked_folder(tracking_uri):
        _create_file(tracking_uri)
        return MlflowClient(tracking_uri, tracking_uri)


def pages(search: Callable[[str | None], Any]) -> Iterator[Any]:
    """Yield the results of an MLflow search, which returns them in pages.

    Parameters
    ----------
    search
        Requests the page for a token; the token of the first page is ``None``.
    """
    token = None
    while True:
        page = search(token)
        yield from page
        token = page.token
        if not token:
            return


@contextmanager
def without_autologging() -> Iterator[None]:
    """Keep MLflow from logging a run for each model that is fitted in this context.

    The user may have called ``mlflow.autolog()``, which is in effect again afterwards. Do not nest.
    """
    utils = sys.modules.get("mlflow.utils.autologging_utils")
    if utils is None:  # nobody has turned it on
        yield
        return
    with utils.disable_autologging():
        yield


def default_uri() -> str:
    """Return the address of the store that MLflow is configured to use in this process."""
    load()
    import mlflow

    return str(mlflow.get_tracking_uri())


def _set_environment() -> None:
    """Turn off MLflow's output and telemetry; its import starts them, so call this before it."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")  # the mirror writer reports errors


def load() -> None:
    """Import MLflow, or wait for the thread that is importing it.

    Call this before another thread imports a large package while the mirror writer runs. If two
    threads import modules at the same time, one of them may get a partly initialised module, and
    the import of MLflow fails. MLflow is then removed from `sys.modules` and imported again,
    because its partly initialised modules would break every later attempt.
    """
    _set_environment()
    with _importing:
        try:
            import mlflow
        except Exception:
            for name in [name for name in sys.modules if name.partition(".")[0] == "mlflow"]:
                del sys.modules[name]
            import mlflow  # noqa: F401


@contextmanager
def _locked_folder(tracking_uri: str) -> Iterator[None]:
    """Lock the folder of a SQLite file: two processes must not create MLflow's tables at once."""
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


def _create_file(tracking_uri: str) -> None:
    """Create a new SQLite store under a temporary name and rename it when it is complete.

    MLflow needs dozens of steps and several seconds to create its tables. A process that was killed
    in between would leave a store that MLflow can neither open nor repair.
    """
    path = StoreAddress(tracking_uri).sqlite_file
    # Windows cannot rename an open file. An address with a query ends with it, so that a suffix
    # cannot be appended to the file's name.
    if path is None or path.exists() or os.name == "nt" or "?" in tracking_uri:
        return
    from mlflow import MlflowClient

    half = path.with_name(f"{path.name}.half")
    half.unlink(missing_ok=True)
    made = f"{tracking_uri}.half"
    MlflowClient(made, made)
    half.replace(path)


def is_new(tracking_uri: str) -> bool:
    """Return whether the store is a SQLite file that does not exist yet."""
    path = StoreAddress(tracking_uri).sqlite_file
    return path is not None and not path.exists()


def check(tracking_uri: str) -> None:
    """Check within seconds that the store can be used, without importing MLflow or writing.

    Raises
    ------
    DatabaseError
        If a SQLite file cannot be written or a server does not answer within 5 seconds.
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
    # MLflow itself would retry for many minutes.
    database.check_reachable(tracking_uri, "--tracking-uri or MLFLOW_TRACKING_URI")


def _ping(server: StoreAddress) -> None:
    from http.client import HTTPException, InvalidURL
    from urllib.error import HTTPError
    from urllib.request import build_opener

    try:
        # `urlopen` would keep to the proxies of the first request of the process.
        build_opener().open(f"{server.without_login}/health", timeout=_PING_TIMEOUT).close()
    except HTTPError:
        return  # the server answers; the first real request will show whether it grants access
    except (InvalidURL, ValueError):
        # The invalid part may belong to the password, so the message does not quote it.
        raise DatabaseError(
            f"'{server}' is not the address of a server: in its user and password, "
            "write / as %2F, ? as %3F and # as %23"
        ) from None
    except (OSError, HTTPException) as error:
        raise DatabaseError(f"the MLflow server {server}{no_answer(error, server)}") from error

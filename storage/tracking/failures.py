"""Explains errors of MLflow, and of what it uses, in one line that says what to do.

The error that was explained is the cause of the one that is raised: ``--debug`` shows it in full.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import responses

from storage.addresses import StoreAddress
from storage.errors import DatabaseError, PermanentError, first_line, short_line
from storage.redaction import redact_text

_OPTIONS = "--tracking-uri or MLFLOW_TRACKING_URI"
# Remedies for an answer of a server, by its HTTP status.
_REMEDIES = {
    401: "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    403: "ask for the permission to write there",
    404: f"check {_OPTIONS}",
    413: "raise the limit on the size of a request (of nginx: client_max_body_size)",
    429: "it is asked too often, try again later",
    500: "its log says why",
    502: "the server behind this proxy does not answer",
    503: "it is not ready",
    504: "the server behind this proxy does not answer in time",
}
_PERMANENT = (403, 413)
_STATUS_CODES = {"UNAUTHENTICATED": 401, "CUSTOMER_UNAUTHORIZED": 401, "PERMISSION_DENIED": 403}


def explain(tracking_uri: str, error: Exception) -> DatabaseError:
    """Convert an error of MLflow to a `DatabaseError` whose one line says what to do.

    The result is a `PermanentError` if a retry cannot mend it.
    """
    if isinstance(error, DatabaseError):
        return error
    explained = _explain(StoreAddress(tracking_uri), error)
    explained.__cause__ = error
    return explained


def _explain(place: StoreAddress, error: Exception) -> DatabaseError:
    text = str(error)
    if "out-of-date database schema" in text or "Can't locate revision" in text:
        return PermanentError(
            f"{place} was made by another version of MLflow: back it up, then run "
            f"`mlflow db upgrade {place}`"
        )
    if found := re.search(r"The (run|experiment) (\S+) must be in the 'active' state", text):
        kind, identity = found.groups()
        return PermanentError(
            f"the {kind} {identity} was deleted in MLflow: `grovekeeper sync STUDY --restore` "
            "restores it"
        )
    kind_of = PermanentError if http_status(error) in _PERMANENT else DatabaseError
    return kind_of(f"MLflow at {place}{reason(error, place)}")


@contextmanager
def explained(tracking_uri: str) -> Iterator[None]:
    """Convert errors of MLflow within the block to a `DatabaseError` of one line."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise explain(tracking_uri, error) from error


def reason(error: Exception, place: StoreAddress) -> str:
    """Return what is wrong with a place, to append to its name, and what to do about it."""
    status = http_status(error)
    if status is not None:
        answer = f"{status} {responses.get(status, '')}".strip() + _through(place)
        remedy = _REMEDIES.get(status) or _REMEDIES.get(status // 100 * 100)
        return f" answers {answer}" + (f": {remedy}" if remedy else "")
    if "not in a valid JSON format" in str(error):
        return f" does not answer as an MLflow server does{_through(place)}: check {_OPTIONS}"
    if (lost := lost_connection(error)) is not None:
        return no_answer(lost, place)
    if isinstance(error, OSError) and error.strerror:
        return f": {error.strerror}"
    said = re.sub(r"^(\([\w.]+\)|[A-Z_]+:) ", "", first_line(error))
    return f": {short_line(redact_text(said, place.url.rstrip('/')))}"


def http_status(error: BaseException) -> int | None:
    """Return the HTTP status of the answer that an error is about; ``None`` if there was none."""
    response = getattr(error, "response", None)
    if response is not None:
        return int(response.status_code)
    if found := re.search(r"(?:error code|too many) (\d{3}) (?:!=|error responses)", str(error)):
        return int(found[1])
    return _STATUS_CODES.get(getattr(error, "error_code", ""))


def lost_connection(error: BaseException | None) -> Exception | None:
    """Return the error of a connection that caused another error; ``None`` if there is none."""
    from requests.exceptions import ConnectionError as NoConnection
    from requests.exceptions import Timeout

    while error is not None:
        if isinstance(error, NoConnection | Timeout):
            return error
        error = error.__cause__ or error.__context__
    return None


def no_answer(error: Exception, place: StoreAddress) -> str:
    """Return why a server does not answer, to append to its name, and what to do about it."""
    said = str(error)
    if found := re.search(r"\[Errno -?\d+\] ([^'\")\]>]+)|Error\(\d+, '([^']+)'\)", said):
        cause = found[1] or found[2]
    elif "timed out" in said.lower():
        cause = "timed out"
    else:
        cause = short_line(redact_text(said, place.url.rstrip("/")))
    remedy = "check the proxy" if place.proxy else "start it"
    return (
        f" does not answer ({cause}{_through(place)}): {remedy}, or name another store with "
        f"{_OPTIONS}"
    )


def _through(place: StoreAddress) -> str:
    """Return a note on the proxy that requests to a place go through."""
    return f", through the proxy {place.proxy}" if place.proxy else ""

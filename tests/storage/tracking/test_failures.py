"""Errors of MLflow become one short line in our own words."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from http_servers import answering
from mlflow import MlflowClient
from processes import free_port

from storage.errors import DatabaseError, PermanentError
from storage.tracking import client as mlflow_client
from storage.tracking.failures import explain

LONGEST = 300


def failure(uri: str, act: Callable[[MlflowClient], object] | None = None) -> DatabaseError:
    """Return the explanation of the error that a call of MLflow raises."""
    client = mlflow_client.connect(uri)
    with pytest.raises(Exception) as raised:  # noqa: PT011 any error is explained
        (act or MlflowClient.search_experiments)(client)
    explained = explain(uri, raised.value)
    assert explained.__cause__ is raised.value
    text = str(explained)
    assert "\n" not in text
    assert len(text) < LONGEST
    for theirs in ("<html>", "HTTPConnectionPool", "Max retries", "API request", "[SQL:"):
        assert theirs not in text
    return explained


@pytest.mark.parametrize(
    ("status", "says", "permanent"),
    [
        (200, "does not answer as an MLflow server does: check --tracking-uri", False),
        (401, "answers 401 Unauthorized: set MLFLOW_TRACKING_USERNAME", False),
        (403, "answers 403 Forbidden: ask for the permission", True),
        (404, "answers 404 Not Found: check --tracking-uri", False),
        (413, "answers 413 Request Entity Too Large: raise the limit", True),
        (429, "answers 429 Too Many Requests", False),
        (502, "answers 502 Bad Gateway: the server behind this proxy does not answer", False),
        (507, "answers 507 Insufficient Storage: its log says why", False),
    ],
)
def test_an_answer_of_a_server_or_a_proxy_is_named(status: int, says: str, permanent: bool) -> None:
    with answering(status) as address:
        error = failure(address)
    assert str(error).startswith(f"MLflow at {address} {says}")
    assert isinstance(error, PermanentError) is permanent


def test_a_server_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"http://ann:s3cret@127.0.0.1:{free_port()}"
    text = str(failure(address))
    assert "does not answer (Connection refused): start it, or name another store" in text
    assert "s3cret" not in text
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        text = str(failure(f"http://127.0.0.1:{silent.getsockname()[1]}"))
    assert "does not answer (timed out)" in text


def set_proxy(monkeypatch: pytest.MonkeyPatch, proxy: str) -> str:
    """Use a proxy with a password, and return how messages name it."""
    monkeypatch.setenv("HTTP_PROXY", proxy.replace("://", "://ann:s3cret@"))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    return f"through the proxy {proxy.replace('://', '://ann:***@')}"


def test_a_proxy_that_is_down_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    named = set_proxy(monkeypatch, f"http://127.0.0.1:{free_port()}")
    texts = [str(failure("http://mlflow.invalid:5000"))]
    with pytest.raises(DatabaseError) as raised:
        mlflow_client.check("http://mlflow.invalid:5000")
    for text in (*texts, str(raised.value)):
        assert f"does not answer (Connection refused, {named}): check the proxy" in text


def test_a_proxy_that_answers_for_a_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(502) as proxy:
        named = set_proxy(monkeypatch, proxy)
        text = str(failure("http://mlflow.invalid:5000"))
    assert f"answers 502 Bad Gateway, {named}: the server behind this proxy" in text


def test_errors_of_a_database_and_of_the_disk_are_short(mlflow_file: str, tmp_path: Path) -> None:
    client = MlflowClient(mlflow_file)
    client.search_experiments()
    text = str(failure(mlflow_file, lambda client: client.get_run("x" * 2000)))
    assert text.startswith(f"MLflow at {mlflow_file}: ")
    assert text.endswith("…")
    full = OSError(28, "No space left on device", str(tmp_path))
    assert str(explain(mlflow_file, full)).endswith(": No space left on device")


def test_what_was_deleted_is_named_and_no_retry_mends_it(mlflow_file: str) -> None:
    client = MlflowClient(mlflow_file)
    experiment = client.create_experiment("houses")
    run = client.create_run(experiment).info.run_id
    client.delete_run(run)
    error = failure(mlflow_file, lambda client: client.log_metric(run, "rmse", 1.0))
    assert isinstance(error, PermanentError)
    assert f"the run {run} was deleted in MLflow" in str(error)
    client.delete_experiment(experiment)
    error = failure(mlflow_file, lambda client: client.create_run(experiment))
    assert isinstance(error, PermanentError)
    assert f"the experiment {experiment} was deleted in MLflow" in str(error)

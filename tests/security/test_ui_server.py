"""The MLflow server that `grovekeeper ui` starts refuses unsafe requests."""

import http.client
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
from forks import Fork
from mlflow_stores import copy_store
from processes import free_port, wait_until_up

from storage.tracking.client import connect

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Server:
    """A running server with a run that has one artifact."""

    process: Fork
    port: int
    run_id: str

    def ask(
        self, path: str, host: str | None = None, body: object = None, **headers: str
    ) -> tuple[int, bytes]:
        """Send a request with the given Host header and an unmodified path."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        method, content = ("GET", None) if body is None else ("POST", json.dumps(body))
        kind = {"Content-Type": "application/json", "Host": host or f"127.0.0.1:{self.port}"}
        try:
            connection.request(method, path, content, kind | headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@contextmanager
def ui(
    folder: Path, *arguments: str, tracking_uri: str, **variables: str
) -> Iterator[tuple[int, Fork]]:
    port, log = free_port(), folder / "ui.log"
    command = ["ui", "--port", str(port), *arguments]
    process: Any = Fork(command, folder, log, MLFLOW_TRACKING_URI=tracking_uri, **variables)
    try:
        wait_until_up(f"http://127.0.0.1:{port}/health", process, log)
        yield port, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("ui")
    copy_store(empty_mlflow, folder)
    (folder / "secret.txt").write_text("swordfish")
    made = connect(f"sqlite:///{folder}/mlflow.db")
    experiment = made.create_experiment("houses", artifact_location=f"file://{folder}/artifacts")
    run_id = made.create_run(experiment).info.run_id
    made.log_text(run_id, "a note", "note.txt")
    # The processes themselves are examined, so they are not forks of the command server.
    address, real = f"sqlite:///{folder}/mlflow.db", {"GROVEKEEPER_TEST_PYTHON": sys.executable}
    with ui(folder, tracking_uri=address, **real) as (port, process):
        yield Server(process, port, run_id)


def artifact(run_id: str, path: str) -> str:
    return f"/get-artifact?run_uuid={run_id}&path={path}"


def test_ordinary_requests_are_answered(server: Server) -> None:
    assert server.ask(artifact(server.run_id, "note.txt")) == (200, b"a note")
    assert server.ask("/", host=f"localhost:{server.port}")[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "10.evil.example", "127.0.0.1", "127.0.0.1:1", "192.168.0.1.evil.example:80"],
)
def test_another_host_name_is_refused(server: Server, host: str) -> None:
    """DNS rebinding: the name of another site resolves to this machine."""
    assert server.ask("/", host=host)[0] == 403
    assert server.ask(artifact(server.run_id, "note.txt"), host=host)[0] == 403


def test_pages_of_other_sites_cannot_change_anything(server: Server) -> None:
    path, body = "/api/2.0/mlflow/experiments/create", {"name": "theirs"}
    for origin in ("https://evil.example", "null"):
        assert server.ask(path, body=body, Origin=origin)[0] == 403
    assert server.ask(path, body=body, Origin=f"http://127.0.0.1:{server.port}")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "../../../secret.txt",
        quote("../../../secret.txt", safe=""),
        quote(quote("../../../secret.txt", safe=""), safe=""),
        "/etc/passwd",
        "file:///etc/passwd",
        "note.txt/../../../../secret.txt",
        quote("..\\..\\..\\secret.txt"),
    ],
)
def test_paths_outside_the_artifacts_are_refused(server: Server, path: str) -> None:
    for place in (
        artifact(server.run_id, path),
        f"/api/2.0/mlflow-artifacts/artifacts/{path}",
        f"/ajax-api/2.0/mlflow/get-trace-artifact?path={path}",
        f"/static-files/{path}",
    ):
        status, content = server.ask(place)
        assert status != 200, (place, content)
        assert b"swordfish" not in content
    listed = f"/api/2.0/mlflow/artifacts/list?run_id={server.run_id}&path={path}"
    assert b'"files"' not in server.ask(listed)[1]


def test_model_versions_with_files_elsewhere_are_refused(server: Server) -> None:
    model, version = (
        "/api/2.0/mlflow/registered-models/create",
        "/api/2.0/mlflow/model-versions/create",
    )
    assert server.ask(model, body={"name": "theirs"})[0] == 200
    for source in ("file:///etc", "/etc", "../..", "file:///tmp/../etc"):
        assert server.ask(version, body={"name": "theirs", "source": source})[0] == 400


def test_the_address_is_in_no_command_line_of_the_server(
    server: Server,
) -> None:
    parent = psutil.Process(server.process.pid)
    lines = [process.cmdline() for process in (parent, *parent.children(recursive=True))]
    assert len(lines) > 1
    assert not any("mlflow.db" in part for line in lines for part in line)


def test_the_server_loads_no_models_and_listens_on_loopback_only(server: Server) -> None:
    parent = psutil.Process(server.process.pid)
    children = parent.children(recursive=True)
    assert all(c.environ()["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false" for c in children)
    listening = [
        connection.laddr.ip
        for process in (parent, *children)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert set(listening) == {"127.0.0.1"}


def test_a_proxy_does_not_stand_between_the_command_and_its_server(
    tmp_path: Path, empty_mlflow: Path
) -> None:
    address, dead = copy_store(empty_mlflow, tmp_path), f"http://127.0.0.1:{free_port()}"
    with ui(tmp_path, tracking_uri=address, HTTP_PROXY=dead, http_proxy=dead) as (port, process):
        while f"MLflow UI: http://127.0.0.1:{port}" not in (tmp_path / "ui.log").read_text():
            assert process.poll() is None
            time.sleep(0.1)


def test_listening_on_all_addresses_prints_a_warning(tmp_path: Path, empty_mlflow: Path) -> None:
    address = copy_store(empty_mlflow, tmp_path)
    with ui(tmp_path, "--host", "0.0.0.0", tracking_uri=address) as (port, process):  # noqa: S104
        server = Server(process, port, "")
        assert server.ask("/", host=f"{os.uname().nodename}:{port}")[0] == 200
        assert server.ask("/", host=f"10.evil.example:{port}")[0] == 403
    assert b"the UI has no password" in (tmp_path / "ui.log").read_bytes()

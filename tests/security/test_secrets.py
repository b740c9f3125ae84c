"""Passwords in addresses never appear in output, stores, files or command lines."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from zipfile import ZipFile, is_zipfile

import psutil
import pytest
from processes import COMMAND, INSTALLED, environment
from shared import FOLDER
from sqlalchemy import MetaData, create_engine, make_url, select

from search.cli.app import run

# Part of every password. Credentials for MLflow and object stores come from the environment.
FISH = "swordfish"
PLANTED = {
    name: f"{FISH}-{name.lower()}"
    for name in ("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD")
} | {"MLFLOW_TRACKING_USERNAME": "ann"}


class Deployment:
    """A folder, two store addresses with passwords, and all output of the commands run there."""

    def __init__(self, folder: Path, storage: str, tracking_uri: str) -> None:
        self._folder = folder
        self.storage, self.tracking_uri = storage, tracking_uri
        self.printed = ""
        self.command_lines: set[str] = set()

    def __call__(self, *arguments: str) -> str:
        # A fork has the command line of its server. Commands whose processes are looked at are
        # installed ones.
        command = INSTALLED if {"--storage", "doctor"} & set(arguments) else COMMAND
        stores = {"OPTUNA_STORAGE": self.storage, "MLFLOW_TRACKING_URI": self.tracking_uri}
        process = subprocess.Popen(
            [command, *arguments],
            cwd=self._folder,
            env=environment() | PLANTED | stores,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        looking = threading.Thread(target=self._look, args=(process,))
        if command == INSTALLED:
            looking.start()
        printed, _ = process.communicate(timeout=300)
        if command == INSTALLED:
            looking.join()
        assert process.returncode == 0, printed
        self.printed += printed
        return printed

    def _look(self, process: "subprocess.Popen[str]") -> None:
        """Record the command lines of a process and of its children, as `ps` shows them."""
        while process.poll() is None:
            try:
                parent = psutil.Process(process.pid)
                for one in (parent, *parent.children(recursive=True)):
                    self.command_lines.add(" ".join(one.cmdline()))
            except psutil.Error:
                pass
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue


@pytest.fixture
def deployment(tmp_path: Path, postgres: Callable[[], str], mlflow_server: str) -> Deployment:
    storage = make_url(postgres()).set(password=f"{FISH}@of/optuna")
    tracking_uri = mlflow_server.replace("//", f"//ann:{FISH}-of-mlflow@")
    return Deployment(tmp_path, storage.render_as_string(hide_password=False), tracking_uri)


def rows_of(url: str) -> Iterator[str]:
    """Yield every row of every table."""
    engine, tables = create_engine(url), MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        for table in tables.sorted_tables:
            yield from (f"{table.name} {row}" for row in connection.execute(select(table)))
    engine.dispose()


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file and every member of its ZIP archives."""
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        yield str(path), path.read_bytes()
        if is_zipfile(path):
            with ZipFile(path) as archive:
                yield from ((f"{path} {name}", archive.read(name)) for name in archive.namelist())


@pytest.mark.slow
def test_no_password_is_printed_stored_or_visible_to_other_users(
    deployment: Deployment, tmp_path: Path
) -> None:
    assert '"state": "finished"' in deployment(
        "launch", "--trials", "3", "--workers", "1", "--json"
    )
    deployment("doctor", "--json")
    assert deployment.command_lines
    assert not [line for line in deployment.command_lines if FISH in line]
    # If passed as an option, it is in the command line of that process and of no other.
    deployment("--storage", deployment.storage, "launch", "--trials", "4", "--workers", "1")
    # The others are the process that workers are forked from and the resource tracker.
    assert len(deployment.command_lines) > 3
    shown = [line for line in deployment.command_lines if FISH in line]
    assert [line for line in shown if " launch " not in line] == []
    assert [line for line in shown if f"{FISH}-" in line] == []  # those in the environment
    for command in (
        ("show", "diabetes", "--json"),
        ("show", "diabetes"),
        ("studies", "--json"),
        ("watch", "diabetes"),
        ("report", "diabetes"),
        ("promote", "diabetes", "--version", "1", "--force", "--reason", "a test"),
        ("history", "diabetes", "--json"),
        ("sync",),
        ("ui", "--study", "diabetes"),
    ):
        deployment(*command)
    rows = list(rows_of(deployment.storage))
    assert len(rows) > 20
    assert not [row for row in rows if FISH in row]
    server = FOLDER / "mlflow"  # the database and the artifacts
    for folder in (server, tmp_path):
        files = list(contents(folder))
        assert len(files) > 0
        assert not [name for name, content in files if FISH.encode() in content]
        assert not [name for name, content in files if content.startswith(b"\x80\x04")]  # a pickle
    assert FISH not in deployment.printed


@contextmanager
def dying_server() -> Iterator[str]:
    """Host and port of a server that passes health checks and drops all other requests."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/health":
                self.send_response(200)
                self.end_headers()

        do_POST = do_GET  # noqa: N815 name required by http.server

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.slow
def test_error_messages_contain_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """This includes --debug: tracebacks contain messages of libraries with addresses."""
    monkeypatch.chdir(tmp_path)
    place = f"ann:{FISH}@127.0.0.1:9"
    addresses = [
        f"postgresql+psycopg://{place}/optuna",
        f"http://{place}/mlflow",
        f"postgresql+psycopg://ann:{FISH}@with@more@127.0.0.1:9/optuna",
        f"postgresql+psycopg://ann:{FISH} of two words@127.0.0.1:9/optuna",
        f"postgresql+psycopg://127.0.0.1:9/optuna?user=ann&password={FISH}",
        f"postgresql+psycopg://ann@corp:{FISH}@127.0.0.1:9/optuna",
        f"http://ann:{FISH}/x@127.0.0.1:9",
        f"http://ann:{FISH}#x@127.0.0.1:9",
        f"http://{FISH}@127.0.0.1:9",
        f"mssql+pyodbc:///?odbc_connect=PWD%3D{FISH}",
        f"nosuch://ann:{FISH}@127.0.0.1/optuna",
        f"mysql+nosuch://ann:{FISH}@127.0.0.1/optuna",
        f"postgresql+psycopg://ann:{FISH}@127.0.0.1:port/optuna",
        f"ann:{FISH}@127.0.0.1/optuna",
        f"sqlite:///{tmp_path}/no/such.db?password={FISH}",
    ]
    for address in addresses:
        assert run(["--debug", "--storage", address, "studies"]) == 1
        assert run(["--debug", "--storage", address, "launch"]) == 1
        assert run(["--debug", "--tracking-uri", address, "promote", "diabetes"]) == 1
        assert run(["--storage", address, "--tracking-uri", address, "doctor"]) == 1
    with dying_server() as server:
        address = f"http://ann:{FISH}@{server}"
        assert run(["--debug", "--tracking-uri", address, "promote", "diabetes"]) == 1
    printed = "".join(capfd.readouterr())
    assert "Traceback" in printed
    assert f"http://ann:***@{server}" in printed
    assert FISH not in printed

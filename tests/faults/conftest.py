"""Fixtures of the fault suite: launches to kill, with injected faults, and a server to stop."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checker import check
from servers import MlflowServer

from storage.studies.study import StudyBook
from storage.tracking.mirror import Mirror

STUDY = "houses"
TRIALS = 8
PATIENCE = 120.0
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder as the fault suite, which takes minutes and runs separately."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("faults")


class LaunchServer:
    """Starts commands that need no imports (see launch_server.py)."""

    def __init__(self, *arguments: str) -> None:
        self._lock = threading.Lock()
        path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "launch_server.py"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # The project sets the log level before it imports MLflow. Requests time out early.
            env=os.environ
            | {"PYTHONPATH": path}
            | {"MLFLOW_LOGGING_LEVEL": "CRITICAL", "MLFLOW_HTTP_REQUEST_TIMEOUT": "3"},
        )
        assert self._process.stdout is not None
        assert json.loads(self._process.stdout.readline()) == "ready"

    def ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


@dataclass
class Launch:
    """A running command."""

    pid: int
    log: Path
    launch_server: LaunchServer
    code: int | None = None

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for the command, and return its exit code; negative for a signal."""
        deadline = time.monotonic() + timeout
        while self.code is None:
            if time.monotonic() > deadline:
                self.kill()
            time.sleep(0.02)
            self.code = self.launch_server.ask(poll=self.pid)
        return self.code

    def end(self) -> None:
        """Kill the command if it still runs."""
        if self.code is None:
            self.kill()
            self.wait()

    def output(self) -> str:
        return self.log.read_text()


@dataclass
class Workspace:
    """A folder with a table and the two stores, and the launches that run in it."""

    folder: Path
    launch_server: LaunchServer
    storage: str
    tracking_uri: str
    trials: int = TRIALS
    launches: list[Launch] = field(default_factory=list)

    def start(self, *arguments: str, faults: Any = (), trials: int | None = None) -> Launch:
        """Start `launch`, or the command that the arguments begin with."""
        stores = ["--storage", self.storage, "--tracking-uri", self.tracking_uri]
        total = str(trials or self.trials)
        command = ["launch", STUDY, "--data", "houses.csv", "--target", "price"]
        command += ["--trials", total, "--trees", "10", "--workers", "1"]
        if arguments and not arguments[0].startswith("--"):
            command = []
        log = self.folder / f"log-{len(self.launches)}"
        pid = self.launch_server.ask(
            run=[*stores, *command, *arguments],
            cwd=str(self.folder),
            log=str(log),
            faults=list(faults),
        )
        self.launches.append(Launch(pid, log, self.launch_server))
        return self.launches[-1]

    def run(self, *arguments: str, expect: int = 0, **options: Any) -> str:
        """Start a command, wait for its end, and return its output."""
        launch = self.start(*arguments, **options)
        code = launch.wait()
        assert code == expect, launch.output()
        assert "Traceback" not in launch.output()
        return launch.output()

    def check(self, **more: Any) -> None:
        check(self.storage, self.tracking_uri, STUDY, self.trials, **more)

    def wait_for(self, reached: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not reached():
            if time.monotonic() > deadline:
                outputs = [launch.output() for launch in self.launches]
                pytest.fail(f"{what} did not happen: {outputs}")
            time.sleep(0.02)

    def wait_for_trials(self, count: int) -> None:
        """Wait until the database has `count` trials."""
        path = self.folder / "optuna.db"

        def reached() -> bool:
            with closing(sqlite3.connect(path, timeout=30)) as connection:
                found = connection.execute("select count(*) from trials").fetchone()
            return int(found[0]) >= count

        self.wait_for(reached, f"trial {count}")


@pytest.fixture(scope="session")
def launch_server() -> Iterator[LaunchServer]:
    launch_server = LaunchServer()
    yield launch_server
    launch_server.close()


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    X = random.normal(size=(120, 4))
    y = X[:, 0] * 3 + np.sin(3 * X[:, 1]) + random.normal(size=120) / 2
    path = tmp_path_factory.mktemp("table") / "houses.csv"
    lines = ["a,b,c,d,price", *(",".join(map(str, [*row, t])) for row, t in zip(X, y, strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two empty databases, to copy: making their tables takes seconds."""
    folder = tmp_path_factory.mktemp("stores")
    with chdir(folder):
        Mirror("sqlite:///mlflow.db", "Default").connect()
    book = StudyBook(f"sqlite:///{folder}/optuna.db", create=True)
    book.rdb.remove_session()
    book.rdb.engine.dispose()
    for name in ("mlflow.db", "optuna.db"):
        with closing(sqlite3.connect(folder / name)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return folder


@pytest.fixture
def make_workspace(
    launch_server: LaunchServer, table: Path, stores: Path, tmp_path: Path
) -> Iterator[Callable[..., Workspace]]:
    """Return a function that makes workspaces, with the defaults replaced by its arguments."""
    workspaces: list[Workspace] = []

    def make(**given: Any) -> Workspace:
        folder = tmp_path / f"workspace-{len(workspaces)}"
        folder.mkdir()
        shutil.copy(table, folder)
        for name in ("mlflow.db", "optuna.db"):
            shutil.copy(stores / name, folder)
        own = {
            "launch_server": launch_server,
            "storage": f"sqlite:///{folder}/optuna.db",
            "tracking_uri": f"sqlite:///{folder}/mlflow.db",
        }
        workspaces.append(Workspace(folder, **own | given))
        return workspaces[-1]

    yield make
    for workspace in workspaces:
        for launch in workspace.launches:
            launch.end()


@pytest.fixture
def workspace(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace()


@pytest.fixture(scope="session")
def only_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture
def server(only_server: MlflowServer) -> MlflowServer:
    """Return a real MLflow server that runs, to stop and restart."""
    only_server.start()
    return only_server

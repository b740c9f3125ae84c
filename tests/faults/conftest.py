"""Machines that die: coordinators to kill, servers to stop, a proxy that loses answers."""

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
    """All of this is the fault suite: minutes long, and apart from the others."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("faults")


class Nursery:
    """Starts command lines that are ready at once (see nursery.py)."""

    def __init__(self, *arguments: str) -> None:
        self._lock = threading.Lock()
        path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "nursery.py"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # As the project sets it before it imports MLflow; and servers are given up in seconds.
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
    """A command line under way."""

    pid: int
    log: Path
    nursery: Nursery
    code: int | None = None

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Return its exit code; negative for a signal."""
        deadline = time.monotonic() + timeout
        while self.code is None:
            if time.monotonic() > deadline:
                self.kill()
            time.sleep(0.02)
            self.code = self.nursery.ask(poll=self.pid)
        return self.code

    def end(self) -> None:
        """Make sure that it runs no more."""
        if self.code is None:
            self.kill()
            self.wait()

    def said(self) -> str:
        return self.log.read_text()


@dataclass
class Farm:
    """A folder with a table and its two stores, and launches in it."""

    folder: Path
    nursery: Nursery
    storage: str
    tracking_uri: str
    trials: int = TRIALS
    launches: list[Launch] = field(default_factory=list)

    def start(self, *arguments: str, faults: Any = (), trials: int | None = None) -> Launch:
        """Start `launch`, or whatever command the arguments name."""
        stores = ["--storage", self.storage, "--tracking-uri", self.tracking_uri]
        total = str(trials or self.trials)
        command = ["launch", STUDY, "--data", "houses.csv", "--target", "price"]
        command += ["--trials", total, "--trees", "10", "--workers", "1"]
        if arguments and not arguments[0].startswith("--"):
            command = []
        log = self.folder / f"log-{len(self.launches)}"
        pid = self.nursery.ask(
            run=[*stores, *command, *arguments],
            cwd=str(self.folder),
            log=str(log),
            faults=list(faults),
        )
        self.launches.append(Launch(pid, log, self.nursery))
        return self.launches[-1]

    def run(self, *arguments: str, expect: int = 0, **options: Any) -> str:
        """Start a command, wait for its end, and return what it said."""
        launch = self.start(*arguments, **options)
        code = launch.wait()
        assert code == expect, launch.said()
        assert "Traceback" not in launch.said()
        return launch.said()

    def check(self, **more: Any) -> None:
        check(self.storage, self.tracking_uri, STUDY, self.trials, **more)

    def wait_for(self, reached: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not reached():
            if time.monotonic() > deadline:
                said = [launch.said() for launch in self.launches]
                pytest.fail(f"{what} did not happen: {said}")
            time.sleep(0.02)

    def wait_for_trials(self, count: int) -> None:
        """Wait until so many trials are in the database."""
        path = self.folder / "optuna.db"

        def reached() -> bool:
            with closing(sqlite3.connect(path, timeout=30)) as connection:
                found = connection.execute("select count(*) from trials").fetchone()
            return int(found[0]) >= count

        self.wait_for(reached, f"trial {count}")


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


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
    """A folder with the two databases, their tables made and nothing in them: making takes long."""
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
def make_farm(
    nursery: Nursery, table: Path, stores: Path, tmp_path: Path
) -> Iterator[Callable[..., Farm]]:
    """Make folders to work in; `nursery`, `storage` and `tracking_uri` where others are wanted."""
    farms: list[Farm] = []

    def make(**given: Any) -> Farm:
        folder = tmp_path / f"farm-{len(farms)}"
        folder.mkdir()
        shutil.copy(table, folder)
        for name in ("mlflow.db", "optuna.db"):
            shutil.copy(stores / name, folder)
        own = {
            "nursery": nursery,
            "storage": f"sqlite:///{folder}/optuna.db",
            "tracking_uri": f"sqlite:///{folder}/mlflow.db",
        }
        farms.append(Farm(folder, **own | given))
        return farms[-1]

    yield make
    for farm in farms:
        for launch in farm.launches:
            launch.end()


@pytest.fixture
def farm(make_farm: Callable[..., Farm]) -> Farm:
    return make_farm()


@pytest.fixture(scope="session")
def only_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture
def server(only_server: MlflowServer) -> MlflowServer:
    """A real MLflow server, to stop and to start."""
    only_server.start()
    return only_server

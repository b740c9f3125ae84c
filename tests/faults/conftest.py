"""Fixtures of the fault suite: launches to kill, with injected faults, and a server to stop."""

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checker import check
from launches import PATIENCE, Launch
from mlflow_stores import copy_database, copy_store
from servers import MlflowServer
from shared import made_once

from storage.studies.study import StudyBook

STUDY = "houses"
TRIALS = 8
SHORT_TIMEOUT = {"set": "storage.database:_WRITE_TIMEOUT", "to": 2.0}
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder as the fault suite, which takes minutes and runs separately."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("faults")


@dataclass
class Workspace:
    """A folder with a table and the two stores, and the launches that run in it."""

    folder: Path
    storage: str
    tracking_uri: str
    trials: int = TRIALS
    launches: list[Launch] = field(default_factory=list)

    def start(self, *arguments: str, faults: Any = (), trials: int | None = None) -> Launch:
        """Start `launch`, or the command that the arguments begin with."""
        log = self.folder / f"log-{len(self.launches)}"
        command = self.command(*arguments, trials=trials)
        self.launches.append(Launch(command, self.folder, log, faults))
        return self.launches[-1]

    def command(self, *arguments: str, trials: int | None = None) -> list[str]:
        """Return all arguments of `launch`, or of the command that the arguments begin with."""
        stores = ["--storage", self.storage, "--tracking-uri", self.tracking_uri]
        if arguments and not arguments[0].startswith("--"):
            return [*stores, *arguments]
        total = str(trials or self.trials)
        launch = ["launch", STUDY, "--data", "houses.csv", "--target", "price"]
        options = ["--trials", total, "--trees", "10", "--workers", "1"]
        return [*stores, *launch, *options, *arguments]

    def run(self, *arguments: str, expect: int = 0, **options: Any) -> str:
        """Start a command, wait for its end, and return its output."""
        launch = self.start(*arguments, **options)
        code = launch.wait()
        assert code == expect, launch.output()
        assert "Traceback" not in launch.output()
        return launch.output()

    def check(self, **more: Any) -> None:
        check(self.storage, self.tracking_uri, STUDY, self.trials, **more)

    def wait_for(self, reached: Callable[[], bool], what: str, pause: float = 0.02) -> None:
        """Wait until a condition holds, which is checked again after each pause."""
        deadline = time.monotonic() + PATIENCE
        while not reached():
            if time.monotonic() > deadline:
                outputs = [launch.output() for launch in self.launches]
                pytest.fail(f"{what} did not happen: {outputs}")
            time.sleep(pause)

    def wait_for_trials(self, count: int) -> None:
        """Wait until the database has `count` trials."""
        path = self.folder / "optuna.db"

        def reached() -> bool:
            with closing(sqlite3.connect(path, timeout=30)) as connection:
                found = connection.execute("select count(*) from trials").fetchone()
            return int(found[0]) >= count

        self.wait_for(reached, f"trial {count}")


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
def empty_optuna() -> Path:
    """Return a database of Optuna that has only its tables, to copy."""

    def make(folder: Path) -> None:
        book = StudyBook(f"sqlite:///{folder}/optuna.db", create=True)
        book.rdb.remove_session()
        book.rdb.engine.dispose()

    return made_once("empty-optuna", make) / "optuna.db"


@pytest.fixture
def make_workspace(
    table: Path, empty_optuna: Path, empty_mlflow: Path, tmp_path: Path
) -> Iterator[Callable[..., Workspace]]:
    """Return a function that makes workspaces, with the defaults replaced by its arguments."""
    workspaces: list[Workspace] = []

    def make(folder: Path | None = None, **given: Any) -> Workspace:
        folder = folder or tmp_path / f"workspace-{len(workspaces)}"
        folder.mkdir(exist_ok=True)
        shutil.copy(table, folder)
        copy_database(empty_optuna, folder / "optuna.db")
        own = {
            "storage": f"sqlite:///{folder}/optuna.db",
            "tracking_uri": copy_store(empty_mlflow, folder),
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

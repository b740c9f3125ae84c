"""Fixtures that several test packages share: tables, databases, an MLflow server."""

import functools
import getpass
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings
from mlflow_stores import copy_store, make_tables, make_tables_once, make_tables_quickly
from optuna_stores import look_up_version_once
from processes import START_TIMEOUT, free_port
from quick_skops import write_compact_json
from shared import made_once, served_once
from sqlalchemy import make_url
from xdist.scheduler import LoadScopeScheduling

from storage.tracking.mirror import Mirror

# Otherwise MLflow starts eight more processes for GenAI jobs.
JOBLESS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
SERVER = os.environ | JOBLESS
_TESTS = Path(__file__).parent

# The time that an example takes depends on the machine.
settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")

# Switch telemetry off before MLflow is imported anywhere.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
for name in ("OPTUNA_STORAGE", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
    os.environ.pop(name, None)


class TogetherScheduling(LoadScopeScheduling):
    """Gives pytest-xdist's workers whole files, because their tests share fixtures.

    The browser tests share one study and one server. Tests of `_ALONE` share nothing that takes
    long, so both workers can take them.
    """

    _ALONE = ("test_all_blocks_of_a_page_run", "test_a_study_survives_kills")

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file.startswith("tests/browser/"):
            return "tests/browser"
        return nodeid if any(name in nodeid for name in self._ALONE) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> TogetherScheduling:
    return TogetherScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of the services and of the browser first, then the storage, then all others.

    The longest test is that of the services. The browser tests start the command server and launch
    the study that other tests copy. Meanwhile another worker of pytest-xdist runs tests that need
    neither.
    """
    first = ["tests/deployment/test_compose", "tests/browser", "tests/storage"]

    def place(item: pytest.Item) -> int:
        return next((k for k, name in enumerate(first) if item.nodeid.startswith(name)), len(first))

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def quick_stores() -> None:
    """Let this process open databases without importing migrations, and save models quickly."""
    look_up_version_once()
    if "mlflow" in sys.modules:  # the modules of the tests have been imported
        make_tables_quickly()
        write_compact_json()


@pytest.fixture
def mixed_table() -> pd.DataFrame:
    """Return a table with numbers, booleans, categories, dates, texts and missing values."""
    random = np.random.default_rng(0)
    n = 240
    size = random.normal(100, 30, n)
    city = random.choice(["Delft", "Leiden", "Utrecht"], n)
    return pd.DataFrame(
        {
            "size": np.where(random.random(n) < 0.1, np.nan, size),
            "rooms": random.integers(1, 7, n),
            "garden": random.random(n) > 0.5,
            "city": np.where(random.random(n) < 0.05, None, city),
            "sold": pd.date_range("2024-01-01", periods=n, freq="31h").strftime("%Y-%m-%d"),
            "note": [f"house number {i}" for i in range(n)],
            "price": np.where(
                random.random(n) < 0.05,
                np.nan,
                3 * size + 40 * (city == "Delft") + random.normal(0, 9, n),
            ),
        }
    )


@pytest.fixture
def mixed_csv(mixed_table: pd.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "houses.csv"
    mixed_table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def mlflow_server() -> str:
    """Return the address of a real MLflow server, which all workers of pytest-xdist use."""
    make_tables_once()
    return served_once("mlflow", [sys.executable, str(_TESTS / "mlflow_server.py")])


@pytest.fixture(scope="session")
def empty_mlflow() -> Path:
    """Return a folder with the database mlflow.db of an empty MLflow store, to copy."""

    def make(folder: Path) -> None:
        make_tables(folder / "mlflow.db")
        with chdir(folder):  # the experiment "Default" stores its artifacts there
            Mirror(f"sqlite:///{folder}/mlflow.db", "Default").connect()

    return made_once("empty-mlflow", make)


@pytest.fixture
def mlflow_file(empty_mlflow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the address of an empty MLflow store for one test; artifacts are stored beside it."""
    monkeypatch.chdir(tmp_path)
    return copy_store(empty_mlflow, tmp_path)


@pytest.fixture(scope="session")
def postgres() -> Callable[..., str]:
    """Return the address of a new database on a real PostgreSQL server at each call.

    The database is empty, or a copy of the database that is named as its template.
    """
    import psycopg

    server = served_once("postgres", [sys.executable, str(_TESTS / "postgres_server.py")])

    def new(template: str = "template1") -> str:
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"create database {name} template {template}".encode())
        address = make_url(server).set(drivername="postgresql+psycopg", database=name)
        return address.render_as_string(hide_password=False)

    return new


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Return the address of a new database on a real MariaDB server at each call.

    The database is empty, or a copy of the database that is named as its template.
    """
    folder, port = tmp_path_factory.mktemp("mariadb"), free_port()
    own = ["--no-defaults", f"--datadir={folder}/data", f"--user={getpass.getuser()}"]
    install = ["mariadb-install-db", *own, "--auth-root-authentication-method=normal"]
    subprocess.run(install, check=True, capture_output=True)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                *("mariadbd", *own, "--bind-address=127.0.0.1", f"--port={port}"),
                *(f"--socket={folder}/socket", f"--pid-file={folder}/pid", "--skip-name-resolve"),
                *("--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0"),
            ],
            stdout=log,
            stderr=log,
        )

    as_root = ["--no-defaults", f"--socket={folder}/socket", "-uroot"]

    def run(statement: str) -> int:
        command = ["mariadb", *as_root, "-e", statement]
        return subprocess.run(command, check=False, capture_output=True).returncode

    @functools.cache
    def dump(database: str) -> bytes:
        command = ["mariadb-dump", *as_root, database]
        return subprocess.run(command, check=True, capture_output=True).stdout

    deadline = time.monotonic() + START_TIMEOUT
    while run("create user tester@'127.0.0.1' identified by 'secret'"):
        assert server.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.1)
    assert run("grant all on *.* to tester@'127.0.0.1'") == 0

    def new(template: str | None = None) -> str:
        name = f"test_{uuid.uuid4().hex}"
        assert run(f"create database {name}") == 0
        if template is not None:
            command = ["mariadb", *as_root, name]
            subprocess.run(command, input=dump(template), check=True)
        return f"mysql+pymysql://tester:secret@127.0.0.1:{port}/{name}"

    yield new
    server.terminate()
    server.wait()

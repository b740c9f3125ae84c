import gc
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

import pytest
from examples import close

from storage import database
from storage.errors import DatabaseError, NotFoundError


def test_opening_without_create_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="grovekeeper launch"):
        database.open_optuna(f"sqlite:///{tmp_path}/optuna.db", create=False)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_server_raises_not_found(postgres: Callable[[], str]) -> None:
    url = postgres()
    with pytest.raises(NotFoundError, match="no studies"):
        database.open_optuna(url, create=False)
    close(database.open_optuna(url, create=True))
    close(database.open_optuna(url, create=False))


def test_sqlite_uses_write_ahead_logging(tmp_path: Path) -> None:
    close(database.open_optuna(f"sqlite:///{tmp_path}/optuna.db", create=True))
    connection = sqlite3.connect(tmp_path / "optuna.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:////no/such/folder/o.db", "there is no folder /no/such/folder"),
        ("nonsense", "is not a database address"),
        ("nonsuch://host/db", "nonsuch"),
        ("postgresql+psycopg://ann:secret@127.0.0.1:9/db", "postgresql+psycopg://ann:***@127"),
    ],
)
def test_errors_on_opening_are_one_line_without_a_password(url: str, says: str) -> None:
    with pytest.raises(DatabaseError) as error:
        database.open_optuna(url, create=True)
    assert says in str(error.value)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_a_database_is_an_error_and_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    path.write_text("no database, " * 100)
    with pytest.raises(DatabaseError, match="not a database"):
        database.open_optuna(f"sqlite:///{path}", create=True)
    assert path.read_text() == "no database, " * 100


def test_a_folder_is_not_accepted_as_a_database(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="is a folder"):
        database.open_optuna(f"sqlite:///{tmp_path}", create=True)


def test_the_database_of_mlflow_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "mlflow.db")
    connection.execute("create table experiments (experiment_id integer)")
    connection.close()
    with pytest.raises(DatabaseError, match="holds MLflow's tables"):
        database.open_optuna(f"sqlite:///{tmp_path}/mlflow.db", create=True)


def test_the_error_on_an_older_schema_names_the_upgrade_command(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/optuna.db"
    close(database.open_optuna(url, create=True))
    connection = sqlite3.connect(tmp_path / "optuna.db")
    connection.execute("update alembic_version set version_num = 'v2.6.0.a'")
    connection.commit()
    connection.close()
    for create in (True, False):
        with pytest.raises(DatabaseError, match="optuna storage upgrade --storage sqlite:///"):
            database.open_optuna(url, create=create)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_tables_can_be_created_by_several_threads_at_the_same_time(
    kind: str, postgres: Callable[[], str], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/optuna.db" if kind == "sqlite" else postgres()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: close(database.open_optuna(url, create=True)), range(4)))
    close(database.open_optuna(url, create=False))
    gc.collect()


def test_a_new_file_can_be_switched_to_wal_by_several_threads_at_once(tmp_path: Path) -> None:
    barrier = Barrier(4)

    def switch(name: int) -> None:
        barrier.wait()
        database.enable_wal(f"sqlite:///{tmp_path}/{name}.db")

    with ThreadPoolExecutor(4) as pool:
        for name in range(50):
            list(pool.map(switch, [name] * 4))


def test_a_database_under_construction_is_not_found_and_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    connection = sqlite3.connect(path)
    connection.execute("create table studies (study_id integer)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(NotFoundError, match="no studies"):
        database.open_optuna(f"sqlite:///{path}", create=False)
    connection = sqlite3.connect(path)
    tables = connection.execute("select name from sqlite_master where type = 'table'").fetchall()
    connection.close()
    assert tables == [("studies",)]
    assert before


def test_analysis_updates_sqlite_statistics_and_skips_other_databases(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table t (a integer)")
        connection.execute("create index i on t (a)")
        connection.executemany("insert into t values (?)", [(k % 7,) for k in range(700)])
        connection.commit()
    database.analyze(f"sqlite:///{path}")
    database.analyze("postgresql+psycopg://nobody@nowhere/nothing")
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("select idx, stat from sqlite_stat1").fetchall()
        assert [name for name, _ in rows] == ["i"]
        connection.execute("begin exclusive")
        database.analyze(f"sqlite:///{path}")  # a locked file is skipped without an error

"""Makes MLflow's SQLite databases without its migrations, which take seconds for each database.

The migrations run once in a test run. Other databases get their tables from a script.
"""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy
from shared import made_once

# Columns with addresses of artifacts.
_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def make_tables(database: Path) -> None:
    """Make the tables of a new MLflow database."""
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        try:
            connection.executescript(_script())
        except sqlite3.OperationalError as error:
            # Another process made them at the same time.
            if "already exists" not in str(error):
                raise
            connection.rollback()


def make_tables_once() -> Path:
    """Return a folder with the script that makes the tables."""
    return made_once("mlflow-tables", _write_script)


def _script() -> str:
    return (make_tables_once() / "tables.sql").read_text()


def _write_script(folder: Path) -> None:
    from mlflow.store.db import utils

    engine = sqlalchemy.create_engine(f"sqlite:///{folder}/empty.db")
    utils._initialize_tables(engine)
    engine.dispose()
    with closing(sqlite3.connect(folder / "empty.db")) as connection:
        first, *others = connection.iterdump()
    assert first == "BEGIN TRANSACTION;"
    (folder / "tables.sql").write_text("\n".join(["BEGIN IMMEDIATE;", *others]))
    (folder / "head").write_text(utils._get_latest_schema_revision())


def make_tables_quickly() -> None:
    """Let MLflow make the tables of SQLite files in this process by the script.

    It also finds the newest version of the tables without importing its migrations.
    """
    from mlflow.store.db import utils
    from mlflow.store.model_registry import sqlalchemy_store

    head = (make_tables_once() / "head").read_text()  # written with MLflow's own functions
    migrate = utils._initialize_tables

    def initialize(engine: Any) -> None:
        database = engine.url.database if engine.dialect.name == "sqlite" else None
        if database and database != ":memory:" and utils._is_empty_database(engine):
            make_tables(Path(database))
        else:
            migrate(engine)

    utils._initialize_tables = sqlalchemy_store._initialize_tables = initialize
    utils._get_latest_schema_revision = lambda: head


def copy_database(source: Path, target: Path) -> None:
    """Copy a SQLite database, also what is only in its write-ahead log yet."""
    with closing(sqlite3.connect(source)) as theirs, closing(sqlite3.connect(target)) as ours:
        theirs.backup(ours)


def copy_store(source: Path, target: Path) -> str:
    """Copy a folder's mlflow.db and its artifacts to another folder; return the new address."""
    copy_database(source / "mlflow.db", target / "mlflow.db")
    with closing(sqlite3.connect(target / "mlflow.db")) as connection:
        for table, column in _ADDRESSES:
            connection.execute(
                f"update {table} set {column} = replace({column}, ?, ?)",  # noqa: S608 own names
                (str(source), str(target)),
            )
        connection.commit()
    if (source / "mlruns").exists():
        shutil.copytree(source / "mlruns", target / "mlruns")
    return f"sqlite:///{target}/mlflow.db"

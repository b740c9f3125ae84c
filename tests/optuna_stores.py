"""Makes Optuna's databases from copies, and looks up the version of their tables once.

Optuna imports all of its migrations whenever it opens a database, to find the newest version. That
takes longer than most tests with a database.
"""

from pathlib import Path

from mlflow_stores import copy_database
from shared import made_once


def look_up_version_once() -> None:
    """Let Optuna in this process find the newest version of its tables without its migrations."""
    from optuna.storages._rdb.storage import _VersionManager

    head = (_original() / "head").read_text()
    _VersionManager.get_head_version = lambda _self: head


def copy_tables(target: Path) -> None:
    """Make a SQLite file with Optuna's tables, and no studies."""
    copy_database(_original() / "optuna.db", target)


def _original() -> Path:
    return made_once("optuna-tables", _make)


def _make(folder: Path) -> None:
    from storage.database import open_optuna

    storage = open_optuna(f"sqlite:///{folder}/optuna.db", create=True)
    (folder / "head").write_text(storage.get_head_version())
    storage.remove_session()
    storage.engine.dispose()

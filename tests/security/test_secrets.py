"""Passwords that are planted where passwords stand, and looked for everywhere else."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import ZipFile, is_zipfile

import psutil
import pytest
from processes import environment
from sqlalchemy import MetaData, create_engine, make_url, select

COMMAND = str(Path(sys.executable).with_name("grovekeeper"))
# In every password; what MLflow and its clouds take comes by the environment.
FISH = "swordfish"
PLANTED = {
    name: f"{FISH}-{name.lower()}"
    for name in ("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD")
} | {"MLFLOW_TRACKING_USERNAME": "ann"}


class Town:
    """A folder, two addresses with passwords in them, and all that was ever printed there."""

    def __init__(self, folder: Path, storage: str, tracking_uri: str) -> None:
        self._folder = folder
        self.storage, self.tracking_uri = storage, tracking_uri
        self.printed = ""
        self.command_lines: set[str] = set()

    def __call__(
        self,
        *arguments: str,
        storage: str | None = None,
        tracking_uri: str | None = None,
        expect: int = 0,
    ) -> str:
        stores = {
            "OPTUNA_STORAGE": storage or self.storage,
            "MLFLOW_TRACKING_URI": tracking_uri or self.tracking_uri,
        }
        process = subprocess.Popen(
            [COMMAND, *arguments],
            cwd=self._folder,
            env=environment() | PLANTED | stores,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        looking = threading.Thread(target=self._look, args=(process,))
        looking.start()
        printed, _ = process.communicate(timeout=300)
        looking.join()
        assert process.returncode == expect, printed
        self.printed += printed
        return printed

    def _look(self, process: "subprocess.Popen[str]") -> None:
        """Note the command lines of the process and of all that it starts, as `ps` shows them."""
        while process.poll() is None:
            try:
                parent = psutil.Process(process.pid)
                for one in (parent, *parent.children(recursive=True)):
                    self.command_lines.add(" ".join(one.cmdline()))
            except psutil.Error:
                pass
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue


@pytest.fixture
def town(tmp_path: Path, postgres: Callable[[], str], mlflow_server: str) -> Town:
    storage = make_url(postgres()).set(password=f"{FISH}@of/optuna")
    tracking_uri = mlflow_server.replace("//", f"//ann:{FISH}-of-mlflow@")
    return Town(tmp_path, storage.render_as_string(hide_password=False), tracking_uri)


def rows_of(url: str) -> Iterator[str]:
    """Every row of every table."""
    engine, tables = create_engine(url), MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        for table in tables.sorted_tables:
            yield from (f"{table.name} {row}" for row in connection.execute(select(table)))
    engine.dispose()


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file, and what is packed in it."""
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        yield str(path), path.read_bytes()
        if is_zipfile(path):
            with ZipFile(path) as archive:
                yield from ((f"{path} {name}", archive.read(name)) for name in archive.namelist())


@pytest.mark.slow
def test_no_password_is_printed_kept_or_shown_to_other_users(
    town: Town, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert '"state": "finished"' in town("launch", "--trials", "3", "--workers", "1", "--json")
    for command in (
        ("launch", "--trials", "4", "--workers", "1"),
        ("show", "diabetes", "--json"),
        ("show", "diabetes"),
        ("studies", "--json"),
        ("watch", "diabetes"),
        ("report", "diabetes"),
        ("promote", "diabetes", "--version", "1", "--force", "--reason", "a test"),
        ("history", "diabetes", "--json"),
        ("sync",),
        ("doctor", "--json"),
        ("ui", "--study", "diabetes"),
    ):
        town(*command)
    rows = list(rows_of(town.storage))
    assert len(rows) > 20
    assert not [row for row in rows if FISH in row]
    server = tmp_path_factory.getbasetemp() / "server0"  # the database and the artifacts
    for folder in (server, tmp_path):
        files = list(contents(folder))
        assert len(files) > 0
        assert not [name for name, content in files if FISH.encode() in content]
        assert not [name for name, content in files if content.startswith(b"\x80\x04")]  # a pickle
    assert FISH not in town.printed
    assert len(town.command_lines) > 3
    assert not [line for line in town.command_lines if FISH in line]
    # Given by option they are in the command's own line, and in no other.
    town.command_lines.clear()
    options = ("--storage", town.storage, "--tracking-uri", town.tracking_uri)
    town(*options, "launch", "--trials", "6", "--workers", "1")
    assert [line for line in town.command_lines if FISH in line and " launch " not in line] == []
    assert FISH not in town.printed


@pytest.mark.parametrize("before", [(), ("--debug",)])
def test_no_password_is_told_when_something_is_wrong(
    tmp_path: Path, before: tuple[str, ...]
) -> None:
    nowhere = f"ann:{FISH}@127.0.0.1:9"
    town = Town(tmp_path, f"postgresql+psycopg://{nowhere}/optuna", f"http://{nowhere}/mlflow")
    town(*before, "studies", expect=1)
    town(*before, "launch", expect=1)
    town(*before, "promote", "diabetes", expect=1)
    town(*before, "doctor", expect=1)
    for storage in (
        f"postgresql+psycopg://ann:{FISH}@with@more@127.0.0.1:9/optuna",
        f"postgresql+psycopg://ann:{FISH} of two words@127.0.0.1:9/optuna",
        f"postgresql+psycopg://127.0.0.1:9/optuna?user=ann&password={FISH}",
        f"nosuch://ann:{FISH}@127.0.0.1/optuna",
        f"mysql+nosuch://ann:{FISH}@127.0.0.1/optuna",
        f"postgresql+psycopg://ann:{FISH}@127.0.0.1:port/optuna",
        f"ann:{FISH}@127.0.0.1/optuna",
        f"sqlite:///{tmp_path}/no/such.db?password={FISH}",
    ):
        town(*before, "studies", storage=storage, expect=1)
        town(*before, "launch", tracking_uri=storage, expect=1)
    assert FISH not in town.printed
    assert "***" in town.printed

"""Fixtures for pages: tables, studies, servers. Each returns the names to replace on the page."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy
from dask_servers import DaskServers
from processes import COMMAND, free_port
from shared import made_once
from terminal import Names, Terminal, at_home


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "work"
    made.mkdir()
    return made


@pytest.fixture
def terminal(folder: Path) -> Iterator[Terminal]:
    terminal = Terminal(folder, at_home())
    yield terminal
    terminal.close()


@pytest.fixture
def houses(folder: Path) -> Names:
    """The table houses.csv."""
    write_houses(folder)
    return {}


@pytest.fixture
def studies(folder: Path) -> Names:
    """Two small studies: houses, with its champion in Staging, and diabetes."""
    shutil.copytree(made_once("studied", make_studies), folder, dirs_exist_ok=True)
    return {}


def make_studies(folder: Path) -> None:
    write_houses(folder)
    terminal = Terminal(folder, at_home())
    for command in (
        "grovekeeper launch houses --data houses.csv --target price --metric mae --trials 8",
        "grovekeeper promote houses",
        "grovekeeper launch --trials 10",
    ):
        output, failed = terminal.run(command)
        assert not failed, output
    terminal.close()


@pytest.fixture
def database(postgres: Callable[[], str]) -> Names:
    """A PostgreSQL database."""
    return {"postgresql+psycopg://ann@db/optuna": postgres()}


@pytest.fixture
def shop(postgres: Callable[[], str], houses: Names, folder: Path) -> Names:
    """A PostgreSQL database that contains the table houses."""
    address = postgres()
    engine = sqlalchemy.create_engine(address)
    pd.read_csv(folder / "houses.csv").to_sql("houses", engine, index=False)
    engine.dispose()
    return {"postgresql+psycopg://ann@db/shop": address}


@pytest.fixture
def server(mlflow_server: str) -> Names:
    """An MLflow server."""
    return {"https://mlflow.example.org": mlflow_server}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Names]:
    """A Dask scheduler with a worker."""
    servers = DaskServers(tmp_path)
    servers.add_worker()
    servers.wait_for_workers()
    # A nanny would start a process that imports everything again; tests/deployment has real ones.
    yield {"dask worker": "dask worker --no-nanny", "tcp://host:8786": servers.address}
    servers.stop()


@pytest.fixture
def ports() -> Names:
    """Free ports that replace the default ports."""
    ui, serving, dashboard = free_port(), free_port(), free_port()
    return {
        "grovekeeper ui": f"grovekeeper ui --port {ui}",
        "127.0.0.1:5000": f"127.0.0.1:{ui}",
        "mlflow models serve": f"mlflow models serve --port {serving}",
        "localhost:5000": f"localhost:{serving}",
        "optuna-dashboard": f"optuna-dashboard --port {dashboard}",
    }


@pytest.fixture
def environment_here(folder: Path) -> Names:
    """The virtual environment of the README; its only command is the one of the command server."""
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "grovekeeper").symlink_to(COMMAND)
    return {}


@pytest.fixture
def few_trials() -> Names:
    """Fewer trials than on the page, where no output depends on their number."""
    fewer = {"trials 20": "trials 3", "trials=20": "trials=3", "trials=50": "trials=3"}
    return fewer | {"trials 12": "trials 3", "trials=30": "trials=3", "trials=10": "trials=3"}


def write_houses(folder: Path) -> None:
    random = np.random.default_rng(0)
    n = 300
    city = random.choice(["Delft", "Leiden", "Utrecht"], n)
    houses = pd.DataFrame(
        {
            "size": random.normal(100, 30, n).round(1),
            "city": city,
            "sold": pd.date_range("2024-01-01", periods=n, freq="2D").strftime("%Y-%m-%d"),
        }
    )
    houses["price"] = (3 * houses["size"] + 40 * (city == "Delft") + random.normal(0, 9, n)).round()
    houses["size"] = houses["size"].mask(random.random(n) < 0.1)
    houses.to_csv(folder / "houses.csv", index=False)

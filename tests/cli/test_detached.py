"""Studies whose coordinator runs on the Dask cluster, too."""

import json
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from mmap import PAGESIZE
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from agreement import assert_agreement
from conftest import Shell
from dask_servers import DaskServers, Process
from mlflow_stores import make_tables
from test_data_sources import files_containing, text
from web import SECRET, serving

_RESOURCE = ("--resources", "coordinator=1")
# Part of the address of the study's database, which only the coordinator may know.
_MARK = b"r3dw00d"


@dataclass(frozen=True)
class Cluster:
    """A cluster whose coordinators keep studies in the folder of a shell."""

    shell: Shell
    servers: DaskServers

    @property
    def stores(self) -> dict[str, str]:
        return {
            "OPTUNA_STORAGE": f"sqlite:///{self.shell.folder}/{_MARK.decode()}.db",
            "MLFLOW_TRACKING_URI": self.shell.tracking_uri,
        }

    def add_coordinator(self) -> Process:
        environment = self.stores | {"GROVEKEEPER_TEST_FIGURES": "empty"}
        coordinator = self.servers.add_worker(*_RESOURCE, **environment)
        self.servers.wait_for_workers()
        return coordinator

    def launch(self, *arguments: str, **options: Any) -> str:
        cluster = ("--detach", "--scheduler", self.servers.address)
        return self.shell("launch", *cluster, *arguments, **options).stdout

    def __call__(self, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        """Run a command that reads the studies."""
        return self.shell("--storage", self.stores["OPTUNA_STORAGE"], *arguments, **options)

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json").stdout)

    def ended(self) -> int:
        """Return the number of trials that have ended."""
        return self.ask("select count(*) from trials where state in ('COMPLETE', 'PRUNED')")

    def ask(self, query: str) -> int:
        """Return a number from the database, which takes less time than a command."""
        path = self.shell.folder / f"{_MARK.decode()}.db"
        with closing(sqlite3.connect(path, timeout=30)) as database:
            return int(database.execute(query).fetchone()[0])

    def assert_agreement(self) -> None:
        stores = self.stores
        assert_agreement(stores["OPTUNA_STORAGE"], stores["MLFLOW_TRACKING_URI"], "diabetes")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of an ordinary worker and a coordinator: real processes, to search their memory."""
    servers = DaskServers(tmp_path_factory.mktemp("servers"), forked=False)
    try:
        cluster = Cluster(Shell(tmp_path_factory.mktemp("real")), servers)
        # The tables of a new store would take a real process seconds.
        make_tables(cluster.shell.folder / "mlflow.db")
        servers.add_worker()
        cluster.add_coordinator()
        yield cluster
    finally:
        servers.stop()


@pytest.fixture
def cluster(shell: Shell, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster without workers."""
    servers = DaskServers(tmp_path)
    yield Cluster(shell, servers)
    servers.stop()


def wait_until(reached: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not reached():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


def found_in_memory(pid: int, *marks: bytes) -> set[bytes]:
    """Return those of some byte strings that the memory of a process contains."""
    return {mark for content in memory_of(pid) for mark in marks if mark in content}


def memory_of(pid: int) -> Iterator[bytes]:
    """Yield the writable memory of a process, without the pages that it has not used yet.

    Allocators reserve a gigabyte, which takes seconds to read.
    """
    with (
        open(f"/proc/{pid}/maps") as maps,
        open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap,
        open(f"/proc/{pid}/mem", "rb", buffering=0) as memory,
    ):
        for line in maps:
            region, rights, *_ = line.split()
            first, last = (int(text, 16) // PAGESIZE for text in region.split("-"))
            if not rights.startswith("rw"):
                continue
            pagemap.seek(8 * first)
            entries = np.frombuffer(pagemap.read(8 * (last - first)), np.uint64)
            used = (entries >> np.uint64(62)) > 0  # in memory or swapped
            ends = np.flatnonzero(np.diff(used, prepend=False, append=False))
            for start, end in ends.reshape(-1, 2):
                memory.seek((first + int(start)) * PAGESIZE)
                with suppress(OSError):  # regions of the kernel
                    yield memory.read(int(end - start) * PAGESIZE)


@pytest.mark.faults
def test_a_detached_study_runs_alone_and_only_its_coordinator_knows_the_databases(
    real: Cluster,
) -> None:
    begun = json.loads(real.launch("--trials", "100000", "--json"))
    assert begun["state"] == "running"
    assert begun["mlflow"]["run_id"] is not None
    ordinary, coordinator = real.servers.workers
    assert begun["lease"]["pid"] == coordinator.pid
    address = real.servers.address.encode()
    assert found_in_memory(coordinator.pid, _MARK, address) == {_MARK, address}
    for process in (ordinary, real.servers.scheduler):
        assert found_in_memory(process.pid, _MARK, address) == {address}
    before = real.ended()
    wait_until(lambda: real.ended() > before, "the study does not go on")
    assert "diabetes: stopped" in real("stop", "diabetes").stdout
    assert real.json("show", "diabetes")["state"] == "stopped"


@pytest.mark.slow
def test_a_detached_study_receives_its_table_and_no_secret(real: Cluster) -> None:
    ordinary, coordinator = real.servers.workers
    endless = ("--target", "price", "--trials", "100000", "--json")
    with serving({"/locked/h.csv": text().encode()}) as web:
        locked = f"http://ann:{SECRET}@{web}/locked/h.csv"
        begun = json.loads(real.launch("--data", locked, *endless))
        assert (begun["study"], begun["state"]) == ("h", "running")
        path, secret = f"{web}/locked/h.csv".encode(), SECRET.encode()
        for process in (real.servers.scheduler, coordinator):
            assert found_in_memory(process.pid, path, secret) == {path}
        assert secret not in found_in_memory(ordinary.pid, secret)
        real("stop", "h")
    piped = real.launch("--data", "-", *endless, piped=text())
    assert json.loads(piped)["study"] == "stdin"
    real("stop", "stdin")
    assert files_containing(real.shell.folder, SECRET) == []


@pytest.mark.faults
def test_another_coordinator_takes_over_from_a_dead_one_and_a_request_to_a_dead_one_stops_the_next(
    cluster: Cluster,
) -> None:
    cluster.servers.add_worker()
    first = cluster.add_coordinator()
    printed = cluster.launch("--trials", "100000")
    assert "watch it: grovekeeper watch diabetes" in printed
    assert "stop it: grovekeeper stop diabetes" in printed
    first.kill()
    first.wait()
    second = cluster.add_coordinator()
    holder = "select pid from grovekeeper_lease"
    wait_until(lambda: cluster.ask(holder) == second.pid, "nobody takes the study over")
    before = cluster.ended()
    wait_until(lambda: cluster.ended() > before, "the study does not go on")
    assert cluster.json("show", "diabetes")["lease"]["pid"] == second.pid
    second.kill()
    second.wait()
    told = cluster("stop", "diabetes", expect=1)
    assert "not running but lost; if its cluster starts it again, it stops at once" in told.stderr
    cluster.add_coordinator()
    wait_until(lambda: cluster.json("show", "diabetes")["state"] == "stopped", "it is not stopped")
    cluster.launch("--trials", str(cluster.ended()))
    found = cluster.json("watch", "diabetes")
    assert found["state"] == "finished"
    assert found["model"] == {"name": "diabetes", "version": 1}
    cluster.assert_agreement()


@pytest.mark.slow
def test_errors_of_detaching_are_reported_in_one_line(cluster: Cluster) -> None:
    shell, servers = cluster.shell, cluster.servers

    def refused(*more: str, expect: int = 1) -> str:
        done = shell("launch", "--detach", *more, expect=expect)
        assert len(done.stderr.splitlines()) == 1
        return done.stderr

    there = ("--scheduler", servers.address)
    assert "name its --scheduler" in refused(expect=2)
    servers.add_worker()
    assert "has the resource" in refused(*there)
    assert "'prize' is not a column" in refused(*there, "--target", "prize", expect=2)
    servers.add_worker(*_RESOURCE)
    servers.wait_for_workers()
    wait_until(lambda: "has the resource" not in refused(*there), "no coordinator comes")
    assert "has no OPTUNA_STORAGE and no MLFLOW_TRACKING_URI in its env" in refused(*there)

"""Studies whose coordinator runs on the Dask cluster, too."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from agreement import assert_agreement
from conftest import Shell
from dask_servers import DaskServers

_RESOURCE = ("--resources", "coordinator=1")
# Part of the address of the study's database, which only the coordinator may know.
_MARK = b"r3dw00d"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[DaskServers]:
    servers = DaskServers(tmp_path, forked=False)
    yield servers
    servers.stop()


@pytest.fixture
def stores(shell: Shell) -> dict[str, str]:
    return {
        "OPTUNA_STORAGE": f"sqlite:///{shell.folder}/{_MARK.decode()}.db",
        "MLFLOW_TRACKING_URI": shell.tracking_uri,
    }


@pytest.fixture
def show(shell: Shell, stores: dict[str, str]) -> Callable[[], Any]:
    return lambda: shell.json("--storage", stores["OPTUNA_STORAGE"], "show", "diabetes")


def wait_until(reached: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not reached():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


def ended(shown: Any) -> int:
    return int(shown["trials"]["complete"] + shown["trials"]["pruned"])


def is_in_memory(pid: int, mark: bytes) -> bool:
    """Return whether the memory of a process contains some bytes."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            region, rights, *_ = line.split()
            first, last = (int(text, 16) for text in region.split("-"))
            if not rights.startswith("rw"):
                continue
            memory.seek(first)
            with suppress(OSError):  # regions of the kernel
                if mark in memory.read(last - first):
                    return True
    return False


@pytest.mark.faults
def test_a_detached_study_runs_alone_and_only_its_coordinator_knows_the_databases(
    shell: Shell, servers: DaskServers, stores: dict[str, str], show: Callable[[], Any]
) -> None:
    servers.add_worker()
    servers.add_worker(*_RESOURCE, **stores)
    servers.wait_for_workers()
    cluster = ("--detach", "--scheduler", servers.address)
    begun = shell.json("launch", "--trials", "100000", *cluster)
    assert begun["state"] == "running"
    assert begun["mlflow"]["run_id"] is not None
    assert begun["lease"]["pid"] == servers.workers[1].pid
    ordinary, coordinator = servers.workers
    assert is_in_memory(coordinator.pid, _MARK)
    assert is_in_memory(ordinary.pid, servers.address.encode())
    assert not is_in_memory(ordinary.pid, _MARK)
    assert not is_in_memory(servers.scheduler.pid, _MARK)
    before = ended(show())
    wait_until(lambda: ended(show()) > before, "the study does not go on")
    shell("--storage", stores["OPTUNA_STORAGE"], "stop", "diabetes")
    assert show()["state"] == "stopped"
    shell("launch", "--trials", str(ended(show())), *cluster)
    wait_until(lambda: show()["state"] == "finished", "the study does not end")
    assert show()["model"] == {"name": "diabetes", "version": 1}
    assert_agreement(stores["OPTUNA_STORAGE"], stores["MLFLOW_TRACKING_URI"], "diabetes")


@pytest.mark.faults
def test_another_coordinator_takes_over_from_a_dead_one_and_can_be_stopped(
    shell: Shell, servers: DaskServers, stores: dict[str, str], show: Callable[[], Any]
) -> None:
    servers.add_worker()
    first = servers.add_worker(*_RESOURCE, **stores)
    servers.wait_for_workers()
    launch = ("launch", "--trials", "100000", "--detach", "--scheduler", servers.address)
    done = shell(*launch)
    assert "watch it: grovekeeper watch diabetes" in done.stdout
    assert "stop it: grovekeeper stop diabetes" in done.stdout
    first.kill()
    second = servers.add_worker(*_RESOURCE, **stores)
    servers.wait_for_workers()
    wait_until(
        lambda: (show()["lease"] or {}).get("pid") == second.pid, "nobody takes the study over"
    )
    before = ended(show())
    wait_until(lambda: ended(show()) > before, "the study does not go on")
    stopped = shell("--storage", stores["OPTUNA_STORAGE"], "stop", "diabetes")
    assert "diabetes: stopped" in stopped.stdout
    shell(
        "--storage", stores["OPTUNA_STORAGE"], "sync", "diabetes"
    )  # launch does not wait long for MLflow
    assert_agreement(stores["OPTUNA_STORAGE"], stores["MLFLOW_TRACKING_URI"], "diabetes")


@pytest.mark.faults
def test_a_request_to_a_dead_coordinator_stops_the_next_one(
    shell: Shell, servers: DaskServers, stores: dict[str, str], show: Callable[[], Any]
) -> None:
    servers.add_worker()
    first = servers.add_worker(*_RESOURCE, **stores)
    servers.wait_for_workers()
    shell("launch", "--trials", "100000", "--detach", "--scheduler", servers.address)
    first.kill()
    first.wait()
    told = shell("--storage", stores["OPTUNA_STORAGE"], "stop", "diabetes", expect=1)
    assert "not running but lost; if its cluster starts it again, it stops at once" in told.stderr
    servers.add_worker(*_RESOURCE, **stores)
    servers.wait_for_workers()
    wait_until(lambda: show()["state"] == "stopped", "it is not stopped")
    shell("--storage", stores["OPTUNA_STORAGE"], "sync", "diabetes")
    assert_agreement(stores["OPTUNA_STORAGE"], stores["MLFLOW_TRACKING_URI"], "diabetes")


@pytest.mark.slow
def test_errors_of_detaching_are_reported_in_one_line(shell: Shell, servers: DaskServers) -> None:
    def refused(*more: str, expect: int = 1) -> str:
        done = shell("launch", "--detach", *more, expect=expect)
        assert len(done.stderr.splitlines()) == 1
        return done.stderr

    cluster = ("--scheduler", servers.address)
    assert "name its --scheduler" in refused(expect=2)
    servers.add_worker()
    assert "has the resource" in refused(*cluster)
    assert "'prize' is not a column" in refused(*cluster, "--target", "prize", expect=2)
    servers.add_worker(*_RESOURCE)
    servers.wait_for_workers()
    wait_until(lambda: "has the resource" not in refused(*cluster), "no coordinator comes")
    assert "has no OPTUNA_STORAGE and no MLFLOW_TRACKING_URI in its env" in refused(*cluster)

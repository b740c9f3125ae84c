"""Studies that a Dask scheduler stores, without a database server and a local file."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from agreement import assert_agreement
from conftest import Shell
from dask_servers import DaskServers
from processes import COMMAND
from test_scheduler import wait_for_trials

_SERVED = ("--storage", "dask+sqlite:///served.db")
_ENDED = ("complete", "pruned")


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DaskServers]:
    """A scheduler, set in `DASK_SCHEDULER_ADDRESS`, with two workers."""
    servers = DaskServers(tmp_path)
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", servers.address)
    servers.add_worker()
    servers.add_worker()
    yield servers
    servers.stop()


@pytest.mark.slow
@pytest.mark.usefixtures("servers")
def test_a_served_study_is_run_shown_and_stopped_from_anywhere(
    shell: Shell, tmp_path: Path
) -> None:
    anywhere = Shell(tmp_path / "anywhere")
    anywhere.folder.mkdir()
    before = anywhere(*_SERVED, "show", "diabetes", expect=1).stderr
    assert len(before.splitlines()) == 1
    process = shell.fork(*_SERVED, "launch", "--trials", "100000", "--no-register")
    wait_for_trials(tmp_path / "served.db", 5)
    assert anywhere.json(*_SERVED, "show", "diabetes")["state"] == "running"
    refused = shell(*_SERVED, "launch", "--trials", "100000", expect=1)
    assert f"(process {process.pid})" in refused.stderr
    assert "diabetes: stopped" in anywhere(*_SERVED, "stop", "diabetes").stdout
    code, printed = process.wait(60), shell.log.read_text()
    # launch does not wait long for MLflow.
    assert code == (1 if "sync diabetes" in printed else 0), printed
    done = sum(anywhere.json(*_SERVED, "show", "diabetes")["trials"][kind] for kind in _ENDED)
    found = shell.json(*_SERVED, "launch", "--trials", str(done + 3))
    assert found["state"] == "finished"
    assert found["model"] == {"name": "diabetes", "version": 1}
    assert sum(found["trials"][kind] for kind in _ENDED) == done + 3
    assert "diabetes" in anywhere(*_SERVED, "studies").stdout
    assert os.listdir(anywhere.folder) == []
    assert not list(shell.folder.glob("*served*"))
    assert_agreement(f"sqlite:///{tmp_path}/served.db", shell.tracking_uri, "diabetes")


@pytest.mark.slow
@pytest.mark.usefixtures("servers")
def test_a_study_can_be_kept_in_the_memory_of_the_scheduler(shell: Shell, tmp_path: Path) -> None:
    found = shell.json("--storage", "dask", "launch", "--trials", "3", "--no-register")
    assert found["state"] == "finished"
    assert shell.json("--storage", "dask", "show", "diabetes") == found
    assert not list(tmp_path.rglob("*optuna*"))


@pytest.mark.faults
def test_a_study_that_a_dead_scheduler_served_from_a_file_continues(
    shell: Shell, servers: DaskServers, tmp_path: Path
) -> None:
    process = shell.start(*_SERVED, "launch", "--trials", "100000", command=COMMAND)
    wait_for_trials(tmp_path / "served.db", 5)
    servers.kill_scheduler()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, out + err
    assert "the same launch continues" in err.splitlines()[-1]
    assert "Traceback" not in err
    servers.start_scheduler()
    servers.add_worker()
    there = shell.json(*_SERVED, "show", "diabetes")
    assert there["state"] == "lost"
    done = sum(there["trials"][kind] for kind in _ENDED)
    assert done >= 5
    found = shell.json(*_SERVED, "launch", "--trials", str(done + 3))
    assert found["state"] == "finished"
    assert_agreement(f"sqlite:///{tmp_path}/served.db", shell.tracking_uri, "diabetes")


def test_a_served_storage_needs_a_scheduler(shell: Shell) -> None:
    for command in (("launch",), ("show", "diabetes")):
        done = shell(*_SERVED, *command, expect=1)
        assert "name it with --scheduler or DASK_SCHEDULER_ADDRESS" in done.stderr
        assert len(done.stderr.splitlines()) == 1

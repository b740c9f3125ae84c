"""Studies whose trees grow on a Dask cluster."""

import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from agreement import assert_agreement
from conftest import Shell
from dask_servers import DaskServers
from mlflow import MlflowClient
from processes import COMMAND, free_port


@pytest.mark.slow
def test_a_study_on_a_cluster_equals_the_one_on_this_machine(
    launched: Shell, shell: Shell, tmp_path: Path
) -> None:
    servers = DaskServers(tmp_path)
    try:
        servers.add_worker()
        servers.add_worker()
        options = ["--trials", "10", "--scheduler", servers.address]
        found = shell.json("launch", *options)
        assert found["model"] == {"name": "diabetes", "version": 1}
        for worker in servers.workers:
            worker.kill()
        # A larger champion of the finished study grows on the cluster, too.
        larger = shell.fork("launch", *options, "--trees", "120")
        wait_for_output(shell.log, "no worker is left: waiting for one")
        servers.add_worker()
        assert larger.wait(120) == 0, shell.log.read_text()
        assert shell.json("show", "diabetes")["model"]["version"] == 2
    finally:
        servers.stop()
    assert found["state"] == "finished"
    assert_agreement(shell.storage, shell.tracking_uri, "diabetes")
    done = shell.json("reproduce", "diabetes", "--trial", "0")
    here = launched.json("reproduce", "diabetes", "--trial", "0")
    assert done["reproduced"]
    assert done["compared"] == here["compared"]
    assert content_of_the_model(shell) == content_of_the_model(launched)


def content_of_the_model(shell: Shell) -> str:
    version = MlflowClient(shell.tracking_uri).get_model_version("diabetes", "1")
    return str(version.tags["grovekeeper.content_sha256"])


@pytest.mark.faults
def test_a_scheduler_that_dies_loses_nothing(shell: Shell, tmp_path: Path) -> None:
    servers = DaskServers(tmp_path)
    try:
        servers.add_worker()
        process = shell.start(
            *("launch", "--trials", "300", "--scheduler", servers.address), command=COMMAND
        )
        wait_for_trials(shell.folder / "optuna.db", 5)
        servers.kill_scheduler()
        out, err = process.communicate(timeout=120)
        assert process.returncode == 1, out + err
        assert "is gone or was restarted: finished trials are kept" in err
        assert "distributed" not in err
        there = shell.json("show", "diabetes")
        assert there["state"] == "failed"
        assert there["trials"]["running"] == 0
        servers.start_scheduler()
        servers.add_worker()
        done = there["trials"]["complete"] + there["trials"]["pruned"]
        found = shell.json("launch", "--trials", str(done + 5), "--scheduler", servers.address)
    finally:
        servers.stop()
    assert found["state"] == "finished"
    assert found["trials"]["complete"] + found["trials"]["pruned"] == done + 5
    assert_agreement(shell.storage, shell.tracking_uri, "diabetes")


def wait_for_trials(path: Path, count: int) -> None:
    """Wait until a study's SQLite file has this number of finished trials."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(0.1)
        if path.exists():
            # The tables are created after the file.
            with (
                closing(sqlite3.connect(path, timeout=30)) as connection,
                suppress(sqlite3.OperationalError),
            ):
                query = "select count(*) from trials where state in ('COMPLETE', 'PRUNED')"
                if connection.execute(query).fetchone()[0] >= count:
                    return
    pytest.fail("the study does not begin")


def wait_for_output(log: Path, text: str) -> None:
    """Wait until the output of a forked command has this text."""
    deadline = time.monotonic() + 120
    while not log.exists() or text not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


@pytest.mark.faults
def test_a_missing_scheduler_is_reported_in_one_line(shell: Shell) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    done = shell("launch", "--trials", "2", "--scheduler", address, expect=1)
    assert f"no Dask scheduler answers at {address}" in done.stderr
    assert done.stderr.count("\n") == 1

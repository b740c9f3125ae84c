"""A coordinator is suspended for longer than its lease while another takes over."""

import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from checker import read_trials
from conftest import STUDY, TRIALS, Workspace
from launches import Launch

SHORT_LEASE = [
    {"set": "storage.leases.lease:DURATION", "to": 3.0},
    {"set": "storage.leases.store:DURATION", "to": 3.0},
    {"set": "storage.leases.lease:RENEW_EVERY", "to": 0.3},
]


def suspend(workspace: Workspace, launch: Launch) -> None:
    """Stop a process outside of transactions, in which it would lock the file for all others."""
    for _ in range(200):
        launch.kill(signal.SIGSTOP)
        workspace.wait_for(launch.is_suspended, "the suspension", pause=0.001)
        if not any(is_locked(workspace.folder / name) for name in ("optuna.db", "mlflow.db")):
            return
        launch.kill(signal.SIGCONT)
        time.sleep(0.02)
    pytest.fail("the process is always within a transaction")


def is_locked(path: Path) -> bool:
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("begin immediate")
        except sqlite3.OperationalError:
            return True
        return False


def wait_until_expired(workspace: Workspace) -> None:
    """Wait until the lease of a suspended coordinator has expired."""

    def expired() -> bool:
        with closing(sqlite3.connect(workspace.folder / "optuna.db", timeout=30)) as connection:
            (expires,) = connection.execute("select expires from grovekeeper_lease").fetchone()
        return float(expires) < time.time()

    workspace.wait_for(expired, "the end of the lease")


def test_a_coordinator_suspended_past_its_lease_writes_nothing_more_if_it_was_replaced(
    make_workspace: Callable[..., Workspace],
) -> None:
    workspace = make_workspace(trials=24)
    first = workspace.start(faults=SHORT_LEASE)
    workspace.wait_for_trials(3)
    suspend(workspace, first)
    before = len(read_trials(workspace.storage, STUDY))
    wait_until_expired(workspace)
    first.kill(signal.SIGCONT)
    workspace.wait_for_trials(before + 3)  # it was not replaced, and continues
    suspend(workspace, first)
    busy = workspace.start(faults=SHORT_LEASE)
    assert busy.wait() == 1
    assert "is run by" in busy.output()
    assert "grovekeeper stop houses" in busy.output()
    wait_until_expired(workspace)
    workspace.run(faults=SHORT_LEASE)
    first.kill(signal.SIGCONT)
    assert first.wait() == 1
    assert "the lease was lost to another coordinator" in first.output()
    workspace.check()


def test_two_launches_at_once_make_one_study(workspace: Workspace) -> None:
    launches = [workspace.start() for _ in range(2)]
    codes = sorted(launch.wait() for launch in launches)
    assert codes in ([0, 0], [0, 1])
    workspace.run()
    workspace.check()


def test_a_study_is_stopped_from_another_process(workspace: Workspace) -> None:
    first = workspace.start(trials=500)
    workspace.wait_for_trials(3)
    assert "houses: stopped" in workspace.run("stop", "houses")
    assert first.wait() == 0
    assert "with the same options continues it" in first.output()
    assert "is not running but stopped" in workspace.run("stop", "houses", expect=1)
    workspace.trials = TRIALS
    shown = workspace.run("show", "houses")
    assert "running" not in shown.replace("run by", "")

"""A coordinator is suspended for longer than its lease while another takes over."""

import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from conftest import TRIALS, Workspace
from launches import Launch

SHORT_LEASE = [
    {"set": "storage.leases.lease:DURATION", "to": 2.0},
    {"set": "storage.leases.lease:RENEW_EVERY", "to": 0.3},
]


def suspend(workspace: Workspace, launch: Launch) -> None:
    """Stop a process outside of transactions, in which it would lock the file for all others."""
    for _ in range(50):
        launch.kill(signal.SIGSTOP)
        if not any(is_locked(workspace.folder / name) for name in ("optuna.db", "mlflow.db")):
            return
        launch.kill(signal.SIGCONT)
        time.sleep(0.01)
    pytest.fail("the process is always within a transaction")


def is_locked(path: Path) -> bool:
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("begin immediate")
        except sqlite3.OperationalError:
            return True
        return False


def test_a_coordinator_suspended_past_its_lease_writes_nothing_more(workspace: Workspace) -> None:
    first = workspace.start(faults=SHORT_LEASE)
    workspace.wait_for_trials(3)
    suspend(workspace, first)
    busy = workspace.start(faults=SHORT_LEASE)
    assert busy.wait() == 1
    assert "is run by" in busy.output()
    assert "grovekeeper stop houses" in busy.output()

    def taken() -> bool:
        return workspace.start(faults=SHORT_LEASE).wait() == 0

    workspace.wait_for(taken, "the takeover")
    workspace.check()
    first.kill(signal.SIGCONT)
    assert first.wait() == 1
    assert "the lease was lost to another coordinator" in first.output()
    workspace.check()


def test_a_suspended_coordinator_that_was_not_replaced_continues(workspace: Workspace) -> None:
    first = workspace.start(faults=SHORT_LEASE)
    workspace.wait_for_trials(3)
    first.kill(signal.SIGSTOP)
    time.sleep(3)
    first.kill(signal.SIGCONT)
    assert first.wait() == 0
    workspace.check()


def test_a_second_launch_of_a_dead_coordinators_study_takes_over_at_once(
    workspace: Workspace,
) -> None:
    first = workspace.start()
    workspace.wait_for_trials(2)
    first.kill()
    first.wait()
    workspace.run()
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

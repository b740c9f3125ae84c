"""A coordinator is frozen past its lease while another takes over."""

import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from conftest import TRIALS, Farm, Launch

SHORT_LEASE = [
    {"set": "storage.leases.lease:DURATION", "to": 2.0},
    {"set": "storage.leases.lease:RENEW_EVERY", "to": 0.3},
]


def freeze(farm: Farm, launch: Launch) -> None:
    """Stop a process, but not within a transaction: its file would be locked to everybody."""
    for _ in range(50):
        launch.kill(signal.SIGSTOP)
        if not any(is_locked(farm.folder / name) for name in ("optuna.db", "mlflow.db")):
            return
        launch.kill(signal.SIGCONT)
        time.sleep(0.01)
    pytest.fail("it is always within a transaction")


def is_locked(path: Path) -> bool:
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("begin immediate")
        except sqlite3.OperationalError:
            return True
        return False


def test_frozen_past_its_lease_it_writes_nothing_more(farm: Farm) -> None:
    first = farm.start(faults=SHORT_LEASE)
    farm.wait_for_trials(3)
    freeze(farm, first)
    busy = farm.start(faults=SHORT_LEASE)
    assert busy.wait() == 1
    assert "is run by" in busy.said()
    assert "grovekeeper stop houses" in busy.said()

    def taken() -> bool:
        return farm.start(faults=SHORT_LEASE).wait() == 0

    farm.wait_for(taken, "the takeover")
    farm.check()
    first.kill(signal.SIGCONT)
    assert first.wait() == 1
    assert "the lease was lost to another coordinator" in first.said()
    farm.check()


def test_frozen_and_not_replaced_it_goes_on(farm: Farm) -> None:
    first = farm.start(faults=SHORT_LEASE)
    farm.wait_for_trials(3)
    first.kill(signal.SIGSTOP)
    time.sleep(3)
    first.kill(signal.SIGCONT)
    assert first.wait() == 0
    farm.check()


def test_a_second_launch_of_a_dead_coordinators_study_takes_over_at_once(farm: Farm) -> None:
    first = farm.start()
    farm.wait_for_trials(2)
    first.kill()
    first.wait()
    farm.run()
    farm.check()


def test_two_launches_at_once_make_one_study(farm: Farm) -> None:
    launches = [farm.start() for _ in range(2)]
    codes = sorted(launch.wait() for launch in launches)
    assert codes in ([0, 0], [0, 1])
    farm.run()
    farm.check()


def test_it_is_stopped_from_another_process(farm: Farm) -> None:
    first = farm.start(trials=500)
    farm.wait_for_trials(3)
    said = farm.run("stop", "houses")
    assert "houses: stopped" in said
    assert first.wait() == 0
    assert "with the same options continues it" in first.said()
    assert "is not running but stopped" in farm.run("stop", "houses", expect=1)
    farm.trials = TRIALS
    shown = farm.run("show", "houses")
    assert "running" not in shown.replace("run by", "")

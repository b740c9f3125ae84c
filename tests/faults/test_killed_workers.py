"""Workers are killed while a study runs."""

import signal
import time
from collections.abc import Callable
from contextlib import suppress

import psutil
from checker import read_trials
from conftest import Workspace


def test_a_trial_that_kills_three_workers_fails_and_the_study_continues(
    workspace: Workspace,
) -> None:
    workspace.run(faults=[{"import": "worker_killer"}])
    workspace.check()
    (failed,) = [t for t in read_trials(workspace.storage, "houses") if t.state == "FAIL"]
    assert failed.attributes["reason"].startswith("killed 3 workers one after another")
    assert failed.attributes["given_up"]


def test_only_the_trees_of_a_killed_worker_are_lost(
    make_workspace: Callable[..., Workspace],
) -> None:
    workspace = make_workspace(trials=40)
    known = set(_workers())
    launch = workspace.start("--workers", "2")
    workspace.wait_for_trials(2)
    for _ in range(3):
        fresh = [process for process in _workers() if process not in known]
        with suppress(psutil.NoSuchProcess, IndexError):
            fresh[0].send_signal(signal.SIGKILL)
        time.sleep(0.3)
    assert launch.wait() == 0, launch.output()
    workspace.check()


def _workers() -> list[psutil.Process]:
    """Return the processes that fork servers below this process forked."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any("multiprocessing.forkserver" in part for part in process.cmdline()):
                found += process.children()
    return found

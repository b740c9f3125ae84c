"""Workers are killed while a study runs."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import psutil
import pytest
from checker import read_trials
from conftest import LaunchServer, Workspace


@pytest.fixture
def killing_launch_server() -> Iterator[LaunchServer]:
    """Return a server of launches whose workers are killed by one trial (see worker_killer.py)."""
    launch_server = LaunchServer("worker_killer")
    yield launch_server
    launch_server.close()


def test_a_trial_that_kills_three_workers_fails_and_the_study_continues(
    make_workspace: Callable[..., Workspace], killing_launch_server: LaunchServer
) -> None:
    workspace = make_workspace(launch_server=killing_launch_server)
    workspace.run()
    workspace.check()
    (failed,) = [t for t in read_trials(workspace.storage, "houses") if t.state == "FAIL"]
    assert failed.attributes["reason"].startswith("killed 3 workers one after another")
    assert failed.attributes["given_up"]


def test_only_the_trees_of_a_killed_worker_are_lost(
    make_workspace: Callable[..., Workspace],
) -> None:
    launch_server = LaunchServer()
    workspace = make_workspace(launch_server=launch_server, trials=60)
    known = set(_workers(launch_server))
    launch = workspace.start("--workers", "2")
    workspace.wait_for_trials(2)
    for _ in range(3):
        fresh = [process for process in _workers(launch_server) if process not in known]
        with suppress(psutil.NoSuchProcess, IndexError):
            fresh[0].send_signal(signal.SIGKILL)
        time.sleep(0.3)
    assert launch.wait() == 0, launch.output()
    launch_server.close()
    workspace.check()


def _workers(launch_server: LaunchServer) -> list[psutil.Process]:
    """Return the processes that fork servers below the launch server forked."""
    found = []
    for process in psutil.Process(launch_server._process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any("multiprocessing.forkserver" in part for part in process.cmdline()):
                found += process.children()
    return found

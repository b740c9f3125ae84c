"""Workers are killed under a study."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import psutil
import pytest
from checker import read_trials
from conftest import Farm, Nursery


@pytest.fixture
def deadly_nursery() -> Iterator[Nursery]:
    """Its workers are killed by the trial at place 2 (see deadly.py)."""
    nursery = Nursery("deadly")
    yield nursery
    nursery.close()


def test_a_trial_that_kills_three_workers_fails_and_the_study_goes_on(
    make_farm: Callable[..., Farm], deadly_nursery: Nursery
) -> None:
    farm = make_farm(nursery=deadly_nursery)
    farm.run()
    farm.check()
    (failed,) = [t for t in read_trials(farm.storage, "houses") if t.state == "FAIL"]
    assert failed.attributes["reason"].startswith("killed 3 workers one after another")
    assert failed.attributes["given_up"]


def test_killed_workers_cost_only_their_trees(make_farm: Callable[..., Farm]) -> None:
    nursery = Nursery()
    farm = make_farm(nursery=nursery, trials=60)
    known = set(_workers(nursery))
    launch = farm.start("--workers", "2")
    farm.wait_for_trials(2)
    for _ in range(3):
        fresh = [process for process in _workers(nursery) if process not in known]
        with suppress(psutil.NoSuchProcess, IndexError):
            fresh[0].send_signal(signal.SIGKILL)
        time.sleep(0.3)
    assert launch.wait() == 0, launch.said()
    nursery.close()
    farm.check()


def _workers(nursery: Nursery) -> list[psutil.Process]:
    """Processes that the fork servers below the nursery forked."""
    found = []
    for process in psutil.Process(nursery._process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any("multiprocessing.forkserver" in part for part in process.cmdline()):
                found += process.children()
    return found

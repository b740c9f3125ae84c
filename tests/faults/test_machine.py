"""The clock of the machine is set, and it has little memory or processor time."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import PATIENCE, Workspace
from processes import INSTALLED, environment

HERE = Path(__file__).parent
GROUPS = Path("/sys/fs/cgroup")
# Files of the limits, in version 1 and version 2 of control groups.
LIMITS = {
    "memory": ("memory.limit_in_bytes", "memory.max"),
    "cpu": ("cpu.cfs_quota_us", "cpu.max"),
}
HOUR = 3600


def start(workspace: Workspace, *before: str, **variables: str) -> "subprocess.Popen[bytes]":
    """Start the installed command, whose processes are not forks of the command server."""
    with (workspace.folder / "log").open("w") as log:
        return subprocess.Popen(
            [*before, INSTALLED, *workspace.command()],
            cwd=workspace.folder,
            env=environment() | variables,
            stdout=log,
            stderr=log,
        )


def output(workspace: Workspace) -> str:
    return (workspace.folder / "log").read_text()


def test_the_clock_is_set_forward_and_back(make_workspace: Callable[..., Workspace]) -> None:
    workspace = make_workspace(trials=30)
    clock, path = workspace.folder / "clock", os.environ.get("PYTHONPATH", "")
    launch = start(
        workspace,
        GROVEKEEPER_TEST_CLOCK=str(clock),
        PYTHONPATH=os.pathsep.join([str(HERE / "shifted_clock"), path]),
    )
    for trials, shift in ((5, HOUR), (15, -HOUR)):
        workspace.wait_for_trials(trials)
        clock.with_suffix(".new").write_text(str(shift))
        clock.with_suffix(".new").rename(clock)
    assert launch.wait(PATIENCE) == 0, output(workspace)
    workspace.check()


@pytest.fixture
def control_group() -> Iterator[Callable[[str, int], str]]:
    """Return a function that makes a control group with a limit, and returns its list of processes.

    All processes of the groups are killed at the end.
    """
    made: list[Path] = []

    def make(controller: str, limit: int) -> str:
        version = 2 if (GROUPS / "cgroup.controllers").exists() else 1
        root = GROUPS if version == 2 else GROUPS / controller
        if version == 2:
            (root / "cgroup.subtree_control").write_text(f"+{controller}")
        made.append(root / f"grovekeeper-{os.getpid()}-{len(made)}")
        made[-1].mkdir()
        (made[-1] / LIMITS[controller][version - 1]).write_text(str(limit))
        return str(made[-1] / "cgroup.procs")

    yield make
    for group in made:
        deadline = time.monotonic() + PATIENCE
        while pids := (group / "cgroup.procs").read_text().split():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            assert time.monotonic() < deadline
            time.sleep(0.1)
        group.rmdir()


def within(group: str) -> list[str]:
    """Return the beginning of a command that runs in a control group."""
    return ["bash", "-c", f'echo $$ > {group} && exec "$@"', "bash"]


def test_a_launch_without_enough_memory_is_continued_with_more(
    workspace: Workspace, control_group: Callable[[str, int], str]
) -> None:
    launch = start(workspace, *within(control_group("memory", 300_000_000)))
    assert launch.wait(PATIENCE) in {1, -signal.SIGKILL}, output(workspace)
    workspace.run()
    workspace.check()


def test_a_launch_keeps_its_lease_with_two_fifths_of_a_processor(
    workspace: Workspace, control_group: Callable[[str, int], str]
) -> None:
    launch = workspace.start()
    Path(control_group("cpu", 40_000)).write_text(str(launch.pid))  # of 100,000 microseconds
    assert launch.wait() == 0, launch.output()
    workspace.check()

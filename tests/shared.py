"""Makes things and starts servers once in a test run, also for several xdist workers."""

import atexit
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

_VARIABLE = "GROVEKEEPER_TEST_SHARED"
_START_TIMEOUT = 300.0
_END_TIMEOUT = 15.0


def _folder() -> Path:
    """Return the folder of this test run: the workers inherit its name in their environment.

    The process that makes the folder controls the test run. It alone writes to a named pipe that is
    the standard input of all servers. They end when they read its end, so they also end with a
    process that is killed.
    """
    if _VARIABLE not in os.environ:
        os.environ[_VARIABLE] = tempfile.mkdtemp(prefix="grovekeeper-shared-")
        folder = Path(os.environ[_VARIABLE])
        os.mkfifo(folder / "alive")
        # Opened for reading as well, because opening for writing only waits for a reader.
        atexit.register(_end, folder, os.open(folder / "alive", os.O_RDWR))
    return Path(os.environ[_VARIABLE])


def _end(folder: Path, alive: int) -> None:
    """Let the servers end, and delete the folder of this test run."""
    os.close(alive)
    deadline = time.monotonic() + _END_TIMEOUT
    for file in folder.glob("*.pid"):
        while _is_running(int(file.read_text())) and time.monotonic() < deadline:
            time.sleep(0.02)
    shutil.rmtree(folder, ignore_errors=True)


def _is_running(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


FOLDER = _folder()


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that `make` filled; the first process that needs it calls `make`."""
    folder = FOLDER / name
    with (FOLDER / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            folder.mkdir()
            try:
                make(folder)
            except BaseException:
                shutil.rmtree(folder)
                raise
    return folder


def served_once(name: str, command: Sequence[str], **variables: str) -> str:
    """Return the address of a server; the first process that needs it starts it.

    The server must end when it reads the end of its standard input. It writes its address to a file
    when it is ready. Its working directory is a folder with this file, whose name is appended to
    the command.
    """

    def start(folder: Path) -> None:
        address = folder / "address"
        with (FOLDER / "alive").open("rb") as alive, (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [*command, str(address)],
                cwd=folder,
                stdin=alive,
                stdout=log,
                stderr=log,
                env=os.environ | variables,
                # Ctrl-C in a terminal ends the tests, which need the servers until they have ended.
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_TIMEOUT
        while not address.exists():
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        (FOLDER / f"{name}.pid").write_text(str(server.pid))
        # The server ends after this process, which therefore does not wait for it.
        server.returncode = 0

    return (made_once(name, start) / "address").read_text()


def publish(file: str, address: str) -> None:
    """Write the address of a server to the file that `served_once` names, at once."""
    unfinished = Path(f"{file}.new")
    unfinished.write_text(address)
    unfinished.rename(file)

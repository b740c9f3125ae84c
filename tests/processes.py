"""Starts processes for tests: their environment, free ports, and waiting until they answer."""

import atexit
import functools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from shared import served_once

START_TIMEOUT = 90.0
_TESTS = Path(__file__).parent
STORES = ("OPTUNA_STORAGE", "MLFLOW_TRACKING_URI")
_used_ports: set[int] = set()


def _install_clients() -> Path:
    """Install programs that are run by a command server; return their folder."""
    folder = Path(tempfile.mkdtemp(prefix="grovekeeper-"))
    atexit.register(shutil.rmtree, folder)
    client = (_TESTS / "command_client.py").read_text()
    for name in ("dask", "grovekeeper", "mlflow", "optuna-dashboard", "python", "uvicorn"):
        (folder / name).write_text(f"#!{sys.executable} -SE\n{client}")
        (folder / name).chmod(0o755)
    return folder


CLIENT_FOLDER = _install_clients()
# The installed command, and programs that run the same code without start-up time
# (command_server.py).
INSTALLED = str(Path(sys.executable).with_name("grovekeeper"))
COMMAND = str(CLIENT_FOLDER / "grovekeeper")
PYTHON = str(CLIENT_FOLDER / "python")


def environment() -> dict[str, str]:
    """Return this process's environment for a command, without store addresses that MLflow set."""
    own = {key: value for key, value in os.environ.items() if key not in STORES}
    return own | {
        "GROVEKEEPER_TEST_SERVER": command_server(),
        # Commands of the command server start MLflow's server as a fork, too.
        "GROVEKEEPER_TEST_PYTHON": PYTHON,
    }


def run_program(command: Sequence[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a program in a folder, with the environment of this process, and return its output."""
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )


@functools.cache
def command_server() -> str:
    """Return the socket of a server that runs commands until the test run ends."""
    # The fork server of the workers imports modules of these folders.
    path = os.pathsep.join([str(_TESTS), str(_TESTS / "faults"), os.environ.get("PYTHONPATH", "")])
    return served_once(
        "commands",
        [sys.executable, str(_TESTS / "command_server.py")],
        PYTHONPATH=path,
        # The project sets this level before it imports MLflow.
        MLFLOW_LOGGING_LEVEL="CRITICAL",
    )


def free_port() -> int:
    """Return a free port, different at each call because earlier callers may not listen yet."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _used_ports:
            _used_ports.add(port)
            return port


class Process(Protocol):
    """A process that was started, such as `subprocess.Popen`."""

    def poll(self) -> int | None:
        """Return the exit code; ``None`` while the process runs."""


def wait_until_up(url: str, server: Process, log: Path) -> None:
    """Wait until a server answers; fail with its log if it ends or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        with suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(url, timeout=1).close()  # noqa: S310 a server of the tests
            return
        time.sleep(0.1)

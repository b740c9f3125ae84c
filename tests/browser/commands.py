"""Starts and ends the installed command for browser tests."""

import os
import signal
import subprocess
from pathlib import Path

from processes import COMMAND, environment

STOP_TIMEOUT = 30.0


def grovekeeper(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def start(folder: Path, said: Path, *command: str) -> "subprocess.Popen[bytes]":
    """Start a command in a folder, and write its output to a file."""
    with said.open("wb") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def stop(server: "subprocess.Popen[bytes]") -> None:
    server.terminate()
    try:
        server.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        # MLflow's server has child processes, so the whole session is killed.
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()

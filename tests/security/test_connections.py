"""What a day's commands connect to: the configured stores and their own workers, nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("grovekeeper"))
GUARD = Path(__file__).parent / "guard"
# By these MLflow tells that it is tested, and its telemetry is off by itself.
_TESTED = {
    "PYTEST_CURRENT_TEST",
    "CI",
    "GITHUB_ACTIONS",
    "MLFLOW_DISABLE_TELEMETRY",
    "DO_NOT_TRACK",
}


class Guarded:
    """Runs commands in a folder, under the guard."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "guard.log"

    def __call__(self, *command: str, **more: str) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in _TESTED}
        environment |= {"PYTHONPATH": str(GUARD), "GROVEKEEPER_GUARD": str(self._log)} | more
        subprocess.run(
            command, cwd=self._folder, env=environment, check=True, capture_output=True, timeout=300
        )

    @property
    def refused(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    @property
    def processes(self) -> int:
        return len((self._folder / "guard.log.processes").read_text().split())


@pytest.fixture
def guarded(tmp_path: Path) -> Guarded:
    return Guarded(tmp_path)


@pytest.mark.slow
def test_a_day_of_commands_opens_no_connection_elsewhere(
    guarded: Guarded, mlflow_server: str
) -> None:
    guarded(COMMAND, "launch", "--trials", "3", "--workers", "1")
    started = guarded.processes
    assert started >= 2  # the command's, and that of its workers
    for command in (
        ("sync",),
        ("show", "diabetes"),
        ("report", "diabetes"),
        ("promote", "diabetes", "--force", "--reason", "a test"),
        ("reproduce", "diabetes"),
        ("doctor",),
    ):
        guarded(COMMAND, *command)
    guarded(COMMAND, "--tracking-uri", mlflow_server, "launch", "served", "--trials", "3")
    assert guarded.refused == ""


def test_the_guard_sees_a_connection(guarded: Guarded) -> None:
    seen = (
        "import socket\ntry: socket.create_connection(('203.0.113.1', 80), 1)\nexcept OSError: pass"
    )
    guarded(sys.executable, "-c", seen)
    assert "203.0.113.1" in guarded.refused


def test_the_guard_sees_mlflows_telemetry(guarded: Guarded) -> None:
    """As it is where nobody switches it off."""
    told = """
import os, pathlib, time, mlflow
refused = pathlib.Path(os.environ["GROVEKEEPER_GUARD"])
mlflow.MlflowClient("sqlite:///mlflow.db").create_experiment("any")
deadline = time.monotonic() + 60
while not (refused.exists() and refused.stat().st_size) and time.monotonic() < deadline:
    time.sleep(0.1)
"""
    guarded(sys.executable, "-c", told)
    assert "mlflow-telemetry" in guarded.refused

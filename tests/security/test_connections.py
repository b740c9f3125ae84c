"""Commands connect only to the configured stores and to their own workers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("grovekeeper"))
GUARD = Path(__file__).parent / "guard"
# MLflow switches its telemetry off if one of these is set.
_TELEMETRY_OFF = {
    "PYTEST_CURRENT_TEST",
    "CI",
    "GITHUB_ACTIONS",
    "MLFLOW_DISABLE_TELEMETRY",
    "DO_NOT_TRACK",
}


class Guarded:
    """Runs commands in a folder, with `guard/sitecustomize.py` loaded in each Python process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "guard.log"

    def __call__(self, *command: str, **more: str) -> None:
        environment = {
            name: value for name, value in os.environ.items() if name not in _TELEMETRY_OFF
        }
        path = os.pathsep.join([str(GUARD), str(GUARD.parents[1])])
        environment |= {"PYTHONPATH": path, "GROVEKEEPER_GUARD": str(self._log)} | more
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


# One process runs these commands, because each process would import everything again. The figures
# of the first launch are drawn, and those of these commands are empty.
COMMANDS = """
import sys
from empty_figures import render_empty_figures
from search.cli.app import run

if __name__ == "__main__":
    render_empty_figures()
    for command in (
        ("sync",),
        ("show", "diabetes"),
        ("report", "diabetes"),
        ("promote", "diabetes", "--force", "--reason", "a test"),
        ("reproduce", "diabetes"),
        ("doctor",),
        ("--tracking-uri", sys.argv[1], "launch", "served", "--trials", "3"),
    ):
        assert run(list(command)) == 0, command
"""


@pytest.mark.slow
def test_commands_open_no_other_connections(
    guarded: Guarded, mlflow_server: str, tmp_path: Path
) -> None:
    guarded(COMMAND, "launch", "--trials", "3", "--workers", "1")
    started = guarded.processes
    assert started >= 2  # the process of the command and that of its workers
    (tmp_path / "commands.py").write_text(COMMANDS)
    guarded(sys.executable, "commands.py", mlflow_server)
    assert guarded.processes >= started + 2
    assert guarded.refused == ""


def test_the_guard_detects_a_connection(guarded: Guarded) -> None:
    seen = (
        "import socket\ntry: socket.create_connection(('203.0.113.1', 80), 1)\nexcept OSError: pass"
    )
    guarded(sys.executable, "-c", seen)
    assert "203.0.113.1" in guarded.refused


@pytest.mark.slow
def test_the_guard_detects_the_telemetry_of_mlflow(guarded: Guarded) -> None:
    code = """
import os, pathlib, time, mlflow
refused = pathlib.Path(os.environ["GROVEKEEPER_GUARD"])
mlflow.MlflowClient("sqlite:///mlflow.db").create_experiment("any")
deadline = time.monotonic() + 60
while not (refused.exists() and refused.stat().st_size) and time.monotonic() < deadline:
    time.sleep(0.1)
"""
    guarded(sys.executable, "-c", code)
    assert "mlflow-telemetry" in guarded.refused

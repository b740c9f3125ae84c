"""Launches that faults are injected into."""

import signal
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from forks import Fork

PATIENCE = 120.0


class Launch:
    """A running command and its output."""

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        log: Path,
        faults: Iterable[Any],
    ) -> None:
        self._log = log
        # Requests to MLflow time out early.
        own = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "3", "GROVEKEEPER_TEST_FIGURES": "empty"}
        self._fork = Fork(arguments, folder, log, faults=faults, **own)

    @property
    def pid(self) -> int:
        """Number of the command's process."""
        return self._fork.pid

    def kill(self, number: int = signal.SIGKILL) -> None:
        self._fork.send_signal(number)

    def is_suspended(self) -> bool:
        """Whether all threads are stopped, which SIGSTOP does not wait for."""
        tasks = Path(f"/proc/{self._fork.pid}/task").glob("*/stat")
        return all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in tasks)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for the command, and return its exit code; negative for a signal."""
        try:
            return self._fork.wait(timeout)
        except TimeoutError:
            self.end()
            return self._fork.wait()

    def end(self) -> None:
        """Kill the command if it still runs."""
        self._fork.kill()
        self._fork.wait()

    def output(self) -> str:
        return self._log.read_text()

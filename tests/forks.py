"""Programs that run in forks of the command server, as processes to watch and to kill."""

import json
import os
import select
import signal
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from processes import command_server, environment


class Fork:
    """A running program; it is killed when its connection to the command server is closed.

    Its methods are those of `subprocess.Popen`.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        log: Path,
        *,
        program: str = "grovekeeper",
        faults: Iterable[Any] = (),
        **variables: str,
    ) -> None:
        own: Mapping[str, str] = environment() | variables
        asked = {"program": program, "run": arguments, "cwd": str(folder), "environment": own}
        body = json.dumps(asked | {"faults": list(faults)}).encode()
        self.returncode: int | None = None
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(command_server())
        with log.open("ab") as output, open(os.devnull, "rb") as nothing:
            streams = [nothing.fileno(), output.fileno(), output.fileno()]
            socket.send_fds(self._server, [len(body).to_bytes(8, "big")], streams)
        self._server.sendall(body)
        self._answers = self._server.makefile()
        self.pid = int(self._answers.readline())

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        """Return the exit code, which is negative for a signal; ``None`` while it runs."""
        return self._read_code(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and return the exit code; raise `TimeoutError` if it takes longer."""
        if self._read_code(timeout) is None:
            raise TimeoutError
        assert self.returncode is not None
        return self.returncode

    def _read_code(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._server], [], [], timeout)[0]:
            self.returncode = int(self._answers.readline())
            self._answers.close()
            self._server.close()
        return self.returncode

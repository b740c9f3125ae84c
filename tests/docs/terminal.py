"""A shell that stays open: variables, folders and jobs last from one command to the next."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path

from processes import CLIENT_FOLDER, environment

# Text on a page -> text that replaces it in the test.
Names = dict[str, str]

_TIMEOUT = 180.0
_POLL = 0.1


def at_home() -> dict[str, str]:
    """Return the environment variables of a shell with the virtual environment activated.

    The figures of reports are empty.
    """
    folders = [str(CLIENT_FOLDER), str(Path(sys.executable).parent), os.environ["PATH"]]
    own = {"PATH": os.pathsep.join(folders), "COLUMNS": "100", "GROVEKEEPER_TEST_FIGURES": "empty"}
    return environment() | own


class Terminal:
    """A bash process in a folder, in its own session."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._jobs = 0
        self._bash = subprocess.Popen(
            ["/bin/bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str) -> tuple[str, int]:
        """Run a command; return its output and the exit code of the last failed part, or 0."""
        mark = uuid.uuid4().hex
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(
            f"failed=0; trap 'failed=$?' ERR\n{{ {command}\n}} </dev/null\n"
            f"printf '\\n%s %s\\n' {mark} $failed\n"
        )
        self._bash.stdin.flush()
        watch = threading.Timer(_TIMEOUT, self.close)
        watch.start()
        output: list[str] = []
        for line in self._bash.stdout:
            if line.startswith(mark):
                watch.cancel()
                return "".join(output).removesuffix("\n"), int(line.split()[1])
            output.append(line)
        raise AssertionError(f"no end within {_TIMEOUT:g} s, or the shell died: {''.join(output)}")

    def start(self, command: str, until: str) -> str:
        """Run a command in the background; return its output once that contains `until`."""
        self._jobs += 1
        log = self._folder.parent / f"job-{self._jobs}.log"
        self.run(f"{{ {command}\n}} >{log} 2>&1 &")
        deadline = time.monotonic() + _TIMEOUT
        while until not in (output := log.read_text() if log.exists() else ""):
            assert time.monotonic() < deadline, output
            time.sleep(_POLL)
        return output

    def close(self) -> None:
        """End the shell and its jobs."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._bash.pid, number)
            deadline = time.monotonic() + 10
            while number == signal.SIGTERM and self._alive() and time.monotonic() < deadline:
                time.sleep(_POLL)
        self._bash.communicate()

    def _alive(self) -> bool:
        self._bash.poll()  # reaps the shell: a zombie would keep its process group alive
        try:
            os.killpg(self._bash.pid, 0)
        except ProcessLookupError:
            return False
        return True

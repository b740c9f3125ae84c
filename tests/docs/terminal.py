"""A shell that lasts: variables, folders and jobs of one command are there for the next."""

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

# By what a page calls a thing: what it is called in the test.
Names = dict[str, str]

_TIMEOUT = 180.0
_POLL = 0.1


def at_home() -> dict[str, str]:
    """Return the environment of somebody who has activated the virtual environment."""
    folders = [str(CLIENT_FOLDER), str(Path(sys.executable).parent), os.environ["PATH"]]
    return environment() | {"PATH": os.pathsep.join(folders), "COLUMNS": "100"}


class Terminal:
    """A bash in a folder, in a session of its own."""

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
        """Run a command; return what it printed, and the exit code of what failed in it, or 0."""
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
        said: list[str] = []
        for line in self._bash.stdout:
            if line.startswith(mark):
                watch.cancel()
                return "".join(said).removesuffix("\n"), int(line.split()[1])
            said.append(line)
        raise AssertionError(f"no end within {_TIMEOUT:g} s, or no shell: {''.join(said)}")

    def start(self, command: str, until: str) -> str:
        """Run a command that does not end; return what it printed until `until` was in that."""
        self._jobs += 1
        log = self._folder.parent / f"job-{self._jobs}.log"
        self.run(f"{{ {command}\n}} >{log} 2>&1 &")
        deadline = time.monotonic() + _TIMEOUT
        while until not in (said := log.read_text() if log.exists() else ""):
            assert time.monotonic() < deadline, said
            time.sleep(_POLL)
        return said

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
        self._bash.poll()  # or it stays as a zombie of its group
        try:
            os.killpg(self._bash.pid, 0)
        except ProcessLookupError:
            return False
        return True

"""Commands on a real terminal of 80 columns, and the content of its screen."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pyte
from conftest import COMMAND, environment

COLUMNS, ROWS = 80, 24
PATIENCE = 120.0


class Terminal:
    """A command that runs on a terminal, and the content of its screen.

    Attributes
    ----------
    started
        All commands that were started and not forgotten.
    """

    started: ClassVar[list["Terminal"]] = []

    def __init__(self, folder: Path, *arguments: str, **variables: str) -> None:
        ours, theirs = pty.openpty()
        size = struct.pack("HHHH", ROWS, COLUMNS, 0, 0)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
        unset = {name: value for name, value in environment().items() if name not in {"CI"}}
        self.process = subprocess.Popen(
            [COMMAND, *arguments],
            cwd=folder,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=unset | {"TERM": "xterm-256color"} | variables,
            start_new_session=True,
        )
        Terminal.started.append(self)
        os.close(theirs)
        self.keyboard = ours
        self.written = b""
        self._screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._screen.display if line.strip()]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, reached: Callable[[str], bool]) -> str:
        """Read on until the screen shows something, or the command has ended."""
        deadline = time.monotonic() + PATIENCE
        while not reached(self.text):
            assert time.monotonic() < deadline, self.text
            if not self._read():
                break
        assert reached(self.text), self.text
        return self.text

    def end(self) -> int:
        """Read to the command's end; return its exit code."""
        while self._read():
            pass
        os.close(self.keyboard)
        return self.process.wait(PATIENCE)

    def _read(self) -> bool:
        if not select.select([self.keyboard], [], [], 1.0)[0]:
            return True
        try:
            some = os.read(self.keyboard, 65536)
        except OSError:  # the other side is closed
            return False
        self.written += some
        self._stream.feed(some)
        return bool(some)

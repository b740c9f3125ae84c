"""Fixtures that run the installed command in a separate folder, as users do."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from forks import Fork
from launched import copy_launched
from processes import COMMAND, INSTALLED, STORES, environment

_EMPTY_FIGURES = {"GROVEKEEPER_TEST_FIGURES": "empty"}


@dataclass(frozen=True)
class Shell:
    """Runs the command in a folder; its figures are empty unless `figures` is true."""

    folder: Path
    command: tuple[str, ...] = (COMMAND,)
    figures: bool = False

    def __call__(
        self, *arguments: str, expect: int = 0, piped: str | None = None, traced: bool = False
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.command, *arguments],
            cwd=self.folder,
            input=piped,
            capture_output=True,
            text=True,
            env=self._environment(),
            timeout=300,
            check=False,
        )
        assert done.returncode == expect, done.stderr + done.stdout
        assert ("Traceback" in done.stderr) is traced
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json").stdout)

    def start(
        self, *arguments: str, command: str = INSTALLED, **options: Any
    ) -> "subprocess.Popen[str]":
        """Start the installed command, so that the process number is the command's own.

        Where that does not matter, `COMMAND` starts without the time that imports take, and passes
        signals on.
        """
        return subprocess.Popen(
            [command, *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._environment(),
            **options,
        )

    def fork(self, *arguments: str) -> Fork:
        """Start a command without the time that imports take; its number is the command's own."""
        figures = {} if self.figures else _EMPTY_FIGURES
        return Fork(arguments, self.folder, self.log, **figures)

    @property
    def log(self) -> Path:
        """The file that forked commands print to, beside the folder."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def _environment(self) -> dict[str, str]:
        return environment() | ({} if self.figures else _EMPTY_FIGURES)

    @property
    def storage(self) -> str:
        return f"sqlite:///{self.folder}/optuna.db"

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    folder = tmp_path / "work"
    folder.mkdir()
    return Shell(folder)


@pytest.fixture(scope="session")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A folder in which the diabetes study was launched with ten trials."""
    shell = Shell(tmp_path_factory.mktemp("launched"))
    copy_launched(shell.folder)
    return shell


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the command line in this process, in an empty folder, for commands that fail early."""
    from search.cli.app import run

    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in STORES:
        monkeypatch.delenv(name, raising=False)
    assert os.listdir() == []
    return lambda *arguments: run(list(arguments))

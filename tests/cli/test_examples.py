"""The examples in the help of the commands, run in the order of a typical session.

They are run unchanged, except that the UI gets a free port and the launch gets fewer trials.
"""

import shlex
import signal
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from conftest import Shell
from launched import copy_launched
from processes import COMMAND, free_port

from search.cli.app import app, run

DAY = (
    *("doctor", "init", "launch", "studies", "show", "watch", "best", "compare", "report", "ui"),
    *("history", "promote", "rollback", "reproduce", "stop", "sync", "delete"),
)


def example_of(command: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert run([command, "--help"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    _, _, example = printed.partition("Example: grovekeeper ")
    return shlex.split(example.partition(" Arguments:")[0].partition(" Options:")[0])


@pytest.fixture
def folder(shell: Shell) -> Shell:
    """A folder with a table, a study of the diabetes data, its model, and a study of the table."""
    random = np.random.default_rng(0)
    houses = pd.DataFrame(random.normal(size=(120, 3)), columns=["size", "age", "luck"])
    houses["price"] = 2 * houses["size"] + houses["age"]
    houses.to_csv(shell.folder / "houses.csv", index=False)
    copy_launched(shell.folder)
    by_mae = ("launch", "houses-by-mae", "--data", "houses.csv", "--metric", "mae")
    shell(*by_mae, "--trials", "3", "--no-register")
    return shell


@pytest.mark.slow
def test_every_example_runs(folder: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    examples = {command: example_of(command, capsys) for command in DAY}
    commands = {i.name or i.callback.__name__ for i in app.registered_commands if i.callback}
    assert set(DAY) == commands
    special: dict[str, Callable[[list[str]], None]] = {
        "launch": lambda words: run_launch(folder, words),
        "ui": lambda words: run_ui(folder, words),
        "rollback": lambda words: run_rollback(folder, words),
        "stop": lambda words: run_stop(folder, words),
    }
    for command, words in examples.items():
        assert words[0] == command
        if command in special:
            special[command](words)
        else:
            folder(*words)


def run_launch(folder: Shell, words: list[str]) -> None:
    """Launch with few trials: of an option that is given twice, the last value counts."""
    folder(*words, "--trials", "3")


def run_ui(folder: Shell, words: list[str]) -> None:
    """Run the UI on a free port, and end it."""
    port = free_port()
    server = folder.start(*words, "--port", str(port), command=COMMAND)
    assert server.stdout is not None
    printed = [server.stdout.readline() for _ in range(3)]
    assert printed[0].startswith(f"MLflow UI: http://127.0.0.1:{port}")
    assert printed[1].startswith("trials: http")
    server.send_signal(signal.SIGINT)
    server.communicate(timeout=60)


def run_rollback(folder: Shell, words: list[str]) -> None:
    """Roll back after two promotions."""
    folder("launch", "again", "--model", "diabetes", "--seed", "1", "--trials", "1")
    folder("promote", "diabetes", "--version", "2", "--force", "--reason", "to go back from")
    folder(*words)


def run_stop(folder: Shell, words: list[str]) -> None:
    """Stop a study that is running."""
    launch = folder.start("launch", "diabetes", "--trials", "100000", command=COMMAND)
    deadline = time.monotonic() + 60
    while folder.json("show", "diabetes")["state"] != "running":
        assert time.monotonic() < deadline
    folder(*words)
    launch.communicate(timeout=60)
    assert launch.returncode == 0

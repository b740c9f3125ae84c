"""`launch` and `watch` on a real terminal of 80 columns, and in a pipe."""

import os
import signal
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from conftest import Shell
from processes import COMMAND
from terminals import COLUMNS, PATIENCE, Terminal


@pytest.fixture(autouse=True)
def _no_command_is_left() -> Iterator[None]:
    """End the commands of a test that failed: they would slow down the tests after it."""
    yield
    for terminal in Terminal.started:
        if terminal.process.poll() is None:
            terminal.process.terminate()
    Terminal.started.clear()


@pytest.fixture
def houses(shell: Shell) -> Shell:
    """A folder with a table on which a trial takes at least a second."""
    random = np.random.default_rng(0)
    houses = pd.DataFrame(random.normal(size=(20_000, 8)), columns=list("abcdefgh"))
    houses["price"] = houses["a"] + np.sin(3 * houses["b"]) + random.normal(size=len(houses))
    houses.to_csv(shell.folder / "houses.csv", index=False)
    return shell


@pytest.mark.slow
def test_launch_and_watch_show_the_same_panel_and_ctrl_c_ends_only_the_watching(
    houses: Shell,
) -> None:
    launch = Terminal(houses.folder, "launch", "--data", "houses.csv", "--trials", "300")
    here = launch.wait_for(lambda text: "running " in text and "trees a second" in text)
    assert "best " in here
    assert "houses: searching, " in here
    assert "/300 trials" in here
    assert "workers: " in here
    watch = Terminal(houses.folder, "watch", "houses")
    there = watch.wait_for(lambda text: "running " in text and "trees a second" in text)
    assert "houses: searching, " in there
    assert "/300 trials" in there
    framed = watch.lines[1:-1]
    assert all(line[0] == line[-1] == "│" and len(line) == COLUMNS for line in framed)
    os.kill(watch.process.pid, signal.SIGINT)
    assert watch.end() == 130
    assert launch.process.poll() is None
    piped = houses.start("watch", "houses", command=COMMAND)
    os.kill(launch.process.pid, signal.SIGINT)
    assert launch.end() == 130
    assert "houses: interrupted" in launch.text
    assert "continues it" in launch.text
    out, printed = piped.communicate(timeout=PATIENCE)
    assert piped.returncode == 0
    assert "trials complete" in out
    assert "\x1b" not in out + printed


@pytest.mark.slow
def test_a_launch_is_interrupted_cleanly_if_its_terminal_is_closed(houses: Shell) -> None:
    launch = Terminal(houses.folder, "launch", "--data", "houses.csv", "--trials", "300")
    launch.wait_for(lambda text: "running " in text and "trees a second" in text)
    os.close(launch.keyboard)
    os.kill(launch.process.pid, signal.SIGHUP)  # as the system does for the terminal's own session
    assert launch.process.wait(PATIENCE) == 128 + signal.SIGHUP
    shown = houses.json("show", "houses")
    assert (shown["state"], shown["lease"]) == ("interrupted", None)
    assert shown["trials"]["running"] == 0


def test_a_finished_study_is_shown_once(launched: Shell) -> None:
    watch = Terminal(launched.folder, "watch", "diabetes")
    assert watch.end() == 0
    assert "diabetes: finished" in watch.text
    assert "10/10 trials" in watch.text
    assert "promote it: grovekeeper promote diabetes" in watch.text


def test_in_a_pipe_it_prints_the_result_and_no_panel(launched: Shell) -> None:
    done = launched("watch", "diabetes")
    assert "best: trial" in done.stdout
    assert done.stderr == ""
    assert launched.json("watch", "diabetes") == launched.json("show", "diabetes")


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables", [{"TERM": "dumb"}, pytest.param({"CI": "true"}, marks=pytest.mark.slow)]
)
def test_lines_are_printed_where_a_panel_cannot_be_drawn(
    shell: Shell, variables: dict[str, str]
) -> None:
    launch = Terminal(shell.folder, "launch", "--trials", "2", "--no-register", **variables)
    assert launch.end() == 0
    assert b"\x1b" not in launch.written
    assert "2/2 trials" in launch.text


@pytest.mark.slow
def test_deleting_a_watched_study_is_reported(shell: Shell) -> None:
    shell("launch", "--trials", "2", "--no-register")
    watch = Terminal(shell.folder, "watch", "diabetes", "--follow")
    watch.wait_for(lambda text: "2/2 trials" in text)
    shell("delete", "diabetes", "--yes")
    assert watch.end() == 1
    assert "study 'diabetes' was deleted while it was watched" in watch.text


@pytest.mark.slow
def test_follow_watches_several_launches(shell: Shell) -> None:
    shell("launch", "--trials", "2", "--no-register")
    watch = Terminal(shell.folder, "watch", "diabetes", "--follow")
    watch.wait_for(lambda text: "diabetes: finished" in text and "2/2 trials" in text)
    shell("launch", "--trials", "4", "--no-register")
    watch.wait_for(lambda text: "diabetes: finished" in text and "4/4 trials" in text)
    os.kill(watch.process.pid, signal.SIGINT)
    assert watch.end() == 130

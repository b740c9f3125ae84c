"""Log messages that a launch passes on and prints."""

import itertools
import logging
import threading
from collections.abc import Callable
from contextvars import copy_context

import pytest

from search.monitoring.display import Display
from search.monitoring.messages import messages_to
from search.monitoring.status import SearchStatus

ours = logging.getLogger("search.service.launch")
storages = logging.getLogger("storage.retry")


def into(messages: list[str]) -> Callable[[logging.LogRecord], None]:
    return lambda record: messages.append(record.getMessage())


def test_only_this_projects_messages_from_info_up_are_passed_on() -> None:
    messages: list[str] = []
    with messages_to(into(messages)):
        ours.info("begun with %d trials", 3)
        storages.warning("locked")
        ours.debug("a detail")
        for library in ("mlflow", "optuna", "distributed", "searching"):
            logging.getLogger(library).warning("theirs")
    ours.warning("over")
    assert messages == ["begun with 3 trials", "locked"]


def test_levels_and_handlers_are_as_before_once_all_have_ended() -> None:
    loggers = [logging.getLogger(name) for name in ("search", "storage")]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    first, second = messages_to(into([])), messages_to(into([]))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert ours.isEnabledFor(logging.INFO)
    second.__exit__(None, None, None)
    assert [(logger.level, list(logger.handlers)) for logger in loggers] == before
    assert not ours.isEnabledFor(logging.INFO)


def test_messages_of_simultaneous_launches_are_kept_apart() -> None:
    passed: dict[str, list[str]] = {"one": [], "two": []}
    both = threading.Barrier(2)

    def write(name: str) -> None:
        ours.info("%s: written by its thread", name)

    def launch(name: str) -> None:
        with messages_to(into(passed[name])):
            both.wait()
            ours.info("%s: launched", name)
            writer = threading.Thread(target=copy_context().run, args=(write, name))
            writer.start()
            writer.join()
            both.wait()

    threads = [threading.Thread(target=launch, args=(name,)) for name in passed]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, messages in passed.items():
        assert messages == [f"{name}: launched", f"{name}: written by its thread"]


def test_messages_are_printed_on_stderr_with_control_characters_escaped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Display(quiet=False):
        storages.warning("locked \x1b[2J")
    assert capsys.readouterr() == ("", "locked \\u001b[2J\n")


@pytest.mark.parametrize("debug", [True, False])
def test_debug_shows_the_errors_that_messages_are_about_without_secrets(
    debug: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    error = ConnectionError("no answer from http://ann:s3cret@host:5000")
    with Display(quiet=False, debug=debug):
        logging.getLogger("storage.x").warning("MLflow is down", extra={"cause": error})
    printed = capsys.readouterr().err
    assert printed.endswith("MLflow is down\n")
    assert ("ConnectionError: no answer from http://ann:***@host:5000" in printed) is debug
    assert "s3cret" not in printed


def test_a_quiet_display_leaves_warnings_to_the_callers_handlers(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with Display(quiet=True):
        storages.warning("locked")
        ours.info("progress")
    assert capsys.readouterr() == ("", "")
    assert caplog.messages == ["locked"]


def test_without_a_panel_a_line_shows_now_and_then_how_far_the_champion_has_grown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(0, 20)  # seconds between two calls
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    status = SearchStatus("houses", "rmse", "minimize", 10)
    with Display(quiet=False) as display:
        display.begin(status)
        for grown in (10, 20, 30, 40):
            status.doing = f"making the champion, {grown} of 100 trees"
            display.update(status)
    printed = capsys.readouterr().err.splitlines()
    assert printed == [f"making the champion, {grown} of 100 trees" for grown in (20, 40)]

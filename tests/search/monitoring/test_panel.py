"""The live panel, as drawn on a terminal."""

import re
import time
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from search.monitoring.panel import clock, panel, sparkline
from search.monitoring.status import SearchStatus
from storage.records import TrialRecord

PARAMS = {"splitter": "random", "max_features": 0.71234, "min_samples_leaf": 2}


def trial(number: int, state: Any = "COMPLETE", **changes: Any) -> TrialRecord:
    value = 60.0 - number if state in {"COMPLETE", "PRUNED"} else None
    return TrialRecord(number, state, PARAMS, value=value, **changes)


def status(*trials: TrialRecord, **changes: Any) -> SearchStatus:
    return SearchStatus("houses", "rmse", "minimize", 40, trials, **changes)


def drawn(now: SearchStatus, width: int = 80, **options: Any) -> list[str]:
    file = StringIO()
    console = Console(file=file, width=width, force_terminal=True, **options)
    console.print(panel(now))
    return file.getvalue().splitlines()


def test_the_panel_shows_progress_scores_and_workers() -> None:
    grown = {16: 61.0, 64: 57.25}
    now = status(
        *(trial(number) for number in range(10)),
        trial(10, "PRUNED"),
        trial(11, "FAIL"),
        trial(12, "RUNNING", scores=grown),
        trial(13, "RUNNING"),
        workers=2,
        behind=lambda: 3,
        began=time.monotonic() - 75,
    )
    text = "\n".join(drawn(now, 120, color_system=None))
    for part in (
        "houses: searching, 1:15",
        "11/40 trials",
        "10 complete, 1 pruned, 1 failed, 2 running",
        "rmse 51, trial 9 (splitter random, max_features 0.7123, min_samples_leaf 2)",
        "60 to 51",
        "trial 12: 64 trees, 57.25",
        "trial 13: 0 trees",
        "workers: 2, MLflow 3 runs behind",
    ):
        assert part in text


def test_reported_scores_are_named_if_they_are_not_the_metric() -> None:
    now = status(trial(12, "RUNNING", scores={64: 0.25}), guide="brier")
    assert "trial 12: 64 trees, brier 0.25" in "\n".join(drawn(now, 120, color_system=None))


def test_the_title_shows_the_phase_and_then_the_final_state() -> None:
    now = status(trial(0), doing="making the champion", began=time.monotonic())
    assert "houses: making the champion, 0:00" in drawn(now, color_system=None)[0]
    now.state = "lost"
    assert "houses: lost ─" in drawn(now, color_system=None)[0]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_panel_fits_the_terminal(width: int) -> None:
    many = [trial(number, "RUNNING") for number in range(1, 30)]
    lines = drawn(status(trial(0), *many, workers=32), width, color_system=None)
    # The right border would be missing if a line were wider than the terminal.
    assert {len(line) for line in lines} == {width}
    assert {line[-1] for line in lines[1:-1]} == {"│"}
    words = " ".join("\n".join(lines).replace("│", " ").split())
    for text in ("1/40 trials", "29 running", "min_samples_leaf 2)", "and 25 more", "workers: 32"):
        assert text in words
    assert len(lines) < 20


def test_unknown_values_are_left_out() -> None:
    text = "\n".join(drawn(SearchStatus("theirs", "value", "minimize", None, [trial(0)])))
    assert "MLflow" not in text
    assert "trees a second" not in text
    assert "1/? trials" in text
    assert "MLflow up to date" in "\n".join(drawn(status(behind=lambda: 0)))


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    color = re.compile(r"\x1b\[[\d;]*\b[39]\d")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert any(color.search(line) for line in drawn(status(trial(0)), color_system="standard"))
    monkeypatch.setenv("NO_COLOR", "1")
    lines = drawn(status(trial(0)), color_system="standard")
    assert not any(color.search(line) for line in lines)


def test_names_are_not_interpreted_as_markup() -> None:
    now = SearchStatus("[red]houses[/]", "[bold]rmse", "minimize", 4, [trial(0)])
    text = "\n".join(drawn(now, color_system=None))
    assert "[red]houses[/]: searching" in text
    assert "[bold]rmse 60" in text


def test_missing_workers_are_shown() -> None:
    assert "no worker: waiting for one" in "\n".join(drawn(status(workers=0)))


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], ""),
        ([5.0], "▁"),
        ([1.0, 1.0], "▁▁"),
        ([8.0, 4.5, 1.0], "█▅▁"),
        ([float("inf"), 2.0, 1.0], " █▁"),
    ],
)
def test_values_are_drawn_as_a_sparkline(values: list[float], line: str) -> None:
    assert sparkline(values) == line


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.9, "0:00"), (65, "1:05"), (3599, "59:59"), (7265, "2:01:05")]
)
def test_seconds_are_formatted_as_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text

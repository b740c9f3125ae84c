"""Output of commands: tables on a terminal, in a pipe and as CSV, and the result of a launch."""

import csv
import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Shell
from settled import summary_of

from search.cli.output import print_result, print_table
from search.report.summary import StudySummary


def rows_of(shell: Shell, *arguments: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(shell(*arguments, "--csv").stdout)))


def test_all_trials_of_a_study_as_csv(launched: Shell) -> None:
    rows = rows_of(launched, "show", "diabetes")
    best = launched.json("show", "diabetes")["best"]
    assert [row["trial"] for row in rows] == [str(number) for number in range(10)]
    found = rows[best["number"]]
    assert float(found["rmse"]) == best["value"]
    assert found["state"] == "complete"
    assert int(found["trees"]) == 128
    assert float(found["seconds"]) > 0
    assert float(found["max_features"]) == best["params"]["max_features"]


def test_studies_and_their_comparison_as_csv(launched: Shell) -> None:
    (row,) = rows_of(launched, "studies")
    summary = launched.json("show", "diabetes")
    assert (row["study"], row["state"], row["trials"], row["goal"]) == (
        "diabetes",
        "finished",
        "10",
        "10",
    )
    assert float(row["best"]) == summary["best"]["value"]
    assert float(row["hold-out"]) == summary["holdout"]["rmse"]
    assert (row["model"], row["version"]) == ("diabetes", "1")


def test_a_models_history_as_csv(launched: Shell) -> None:
    assert launched("history", "diabetes", "--csv").stdout == (
        "time,who,move,version,to,judged,why\n"
    )


def test_show_lists_the_best_trials_in_order(launched: Shell) -> None:
    summary = launched.json("show", "diabetes")
    _, shown = launched("show", "diabetes").stdout.split("The best trials\n")
    heading, *lines = shown.splitlines()
    assert heading.split() == ["trial", "rmse", "trees", "size", "hyperparameters"]
    scores = [float(line.split()[1]) for line in lines]
    assert len(scores) == min(5, summary["trials"]["complete"])
    assert scores == sorted(scores)
    assert lines[0].split()[0] == str(summary["best"]["number"])


@pytest.mark.parametrize("command", ["studies", "show", "compare", "history"])
def test_requesting_two_formats_is_a_usage_error(
    here: Callable[..., int], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"studies": [], "show": ["a"], "compare": ["a", "b"], "history": ["a"]}[command]
    assert here(command, *names, "--json", "--csv") == 2
    assert "--json and --csv are two formats: give one of them" in capsys.readouterr().err


def test_in_a_pipe_lines_are_not_folded_and_markup_is_not_interpreted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    long = "x" * 300
    print_table(["name", "[b]value"], [[long, 1.23456789], ["[red]y[/]", None]])
    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading.split() == ["name", "[b]value"]
    assert first.split() == [long, "1.2346"]
    assert second == "[red]y[/]"


def test_on_a_terminal_tables_are_folded_to_its_width(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    rows: list[list[Any]] = [["a name " * 30, 12.5, "best, 0.7, " * 20]]
    print_table(["name", "number", "what"], rows)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert len(lines) > 3
    assert max(map(len, lines)) <= 80


def summary(best: int, *, outdated: bool = False) -> StudySummary:
    return summary_of(
        "houses",
        state="stopped",
        trials={"complete": 40, "pruned": 2},
        best={"number": best, "value": 1.5, "params": {"max_features": 0.5}},
        champion={"trial": 12, "trees": 100, "outdated": outdated},
        holdout={"rmse": 2.5},
        model={"name": "houses", "version": 1},
    )


def test_hold_out_and_model_are_printed_only_if_the_champion_is_up_to_date(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_result(summary(12), registered=True)
    printed = capsys.readouterr().out
    assert "hold-out: rmse 2.5" in printed
    assert "promote it: grovekeeper promote houses --to Staging" in printed
    print_result(summary(7), registered=True)
    printed = capsys.readouterr().out
    assert "best: trial 7" in printed
    assert "hold-out (of trial 12): rmse 2.5" in printed
    assert "promote it: grovekeeper promote houses --to Staging" in printed
    print_result(summary(40, outdated=True), registered=True)
    printed = capsys.readouterr().out
    assert "best: trial 40" in printed
    assert (
        "the champion is still that of trial 12: run the same launch again to make the new one"
        in printed
    )
    assert "hold-out" not in printed
    assert "registered" not in printed

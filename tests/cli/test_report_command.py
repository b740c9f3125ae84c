"""`grovekeeper report` writes a page on a study, or an error in one line."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from conftest import Shell


def test_the_page_is_written_and_its_path_printed(launched: Shell) -> None:
    page = launched.folder / "diabetes.html"
    try:
        page.write_text("an older page")
        done = launched("report", "diabetes")
        assert (done.stdout, done.stderr) == ("diabetes.html\n", "")
        html = page.read_text(encoding="utf-8")
        assert html.startswith("<!DOCTYPE html>")
        assert html.rstrip().endswith("</html>")
        best = launched.json("show", "diabetes")["best"]
        finding = f"best rmse {best['value']:.5g} at trial {best['number']} of 10"
        assert f'aria-label="{finding}"' in html
    finally:
        page.unlink(missing_ok=True)


def test_json_describes_each_figure(launched: Shell, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    drawing = replace(launched, figures=True)
    document = drawing.json("report", "diabetes", "--output", str(path))
    assert set(document) == {"study", "file", "figures"}
    assert (document["study"], document["file"]) == ("diabetes", str(path))
    figures = {figure["name"]: figure for figure in document["figures"]}
    assert {"history", "time", "curves", "importance", "parallel"} <= set(figures)
    for figure in figures.values():
        assert set(figure) == {"name", "shown", "text"}
        assert figure["text"]
    assert figures["history"]["shown"]
    assert 50_000 < path.stat().st_size < 500_000


def test_only_optunas_database_is_needed(launched: Shell, shell: Shell, tmp_path: Path) -> None:
    shell(
        "--storage", launched.storage, "--tracking-uri", "http://127.0.0.1:1", "report", "diabetes"
    )
    assert [path.name for path in shell.folder.iterdir()] == ["diabetes.html"]


def test_the_file_of_a_study_with_any_name_is_in_this_folder(shell: Shell) -> None:
    storage = optuna.storages.RDBStorage(shell.storage)
    optuna.create_study(study_name="../their <study>", storage=storage)
    storage.remove_session()
    storage.engine.dispose()
    assert shell("report", "../their <study>").stdout == "their-study.html\n"
    html = (shell.folder / "their-study.html").read_text(encoding="utf-8")
    assert "<h1>../their &lt;study&gt;</h1>" in html
    assert "Not shown: No trial is complete yet." in html


def test_a_missing_study_leaves_no_file(launched: Shell, shell: Shell) -> None:
    printed = shell("--storage", launched.storage, "report", "diabetis", expect=1).stderr
    assert "did you mean 'diabetes'" in printed
    assert list(shell.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("nowhere/page.html", "there is no folder nowhere; create it or choose another file"),
        (".", "it is a folder; give the name of a file"),
    ],
)
def test_an_impossible_output_is_a_usage_error(
    here: Callable[..., int], output: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("report", "diabetes", "--output", output) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert message in printed.err


def test_a_failed_write_is_reported_in_one_line(launched: Shell) -> None:
    failed = launched("report", "diabetes", "--output", "/dev/full", expect=1)
    assert failed.stdout == ""
    assert failed.stderr.count("\n") == 1
    assert "cannot write /dev/full: No space left on device; choose another file" in failed.stderr

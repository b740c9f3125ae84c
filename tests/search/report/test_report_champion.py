"""What a report says of the champion and of the workers, and its pictures."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import optuna
import pytest
from matplotlib import image
from optuna.distributions import CategoricalDistribution, FloatDistribution
from settled import settle

from search.report import Figure, draw, make_report, report_files
from search.study.notes import StudyNotes, read_initialized
from storage.records import Span, TrialRecord
from storage.studies.study import Study, StudyBook

SPACE = {
    "max_features": FloatDistribution(0.1, 1.0),
    "splitter": CategoricalDistribution(["best", "random"]),
}
NOW = datetime(2026, 1, 1, tzinfo=UTC)
REGRESSION = {
    "importance": [("size", 3.5), ("age", -0.25)],
    "predicted": [1.0, 2.0],
    "true": [1.5, 9],
}
CLASSES = {
    "importance": [("size", 0.5)],
    "classes": ["oak", "elm", "ash"],
    "confusion": [[5, 1, 0], [3, 4, 0], [0, 0, 2]],
}


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    book = StudyBook(f"sqlite:///{tmp_path}/optuna.db", create=True)
    yield book.make("houses", "minimize")
    book.rdb.remove_session()
    book.rdb.engine.dispose()


def enter(study: Study, number: int, *spans: Span) -> None:
    """Enter a complete trial that was grown so."""
    params = {"max_features": 0.1 + number / 40, "splitter": ("best", "random")[number % 2]}
    record = TrialRecord(
        number,
        "COMPLETE",
        params,
        scores={16: 9.0, 128: 5.0 + number},
        value=5.0 + number,
        trees=128,
        started=NOW + timedelta(seconds=number),
        ended=NOW + timedelta(seconds=number + 1),
        spans=spans,
    )
    study.enter_trial(record, SPACE)


def figure(study: Study, name: str) -> Figure:
    (found,) = [f for f in make_report(study).figures if f.name == name]
    return found


@pytest.mark.parametrize(
    ("notes", "why"),
    [
        ({}, "The study has no champion yet."),
        (
            {"holdout": None, "champion": {"name": "houses", "trial": 0, "trees": 9}},
            "No row was held out to judge it by.",
        ),
    ],
)
def test_what_is_not_known_of_a_champion_is_said(
    study: Study, notes: dict[str, Any], why: str
) -> None:
    settle(study, **notes)
    for name in ("columns", "errors"):
        assert figure(study, name).plot is None
        assert figure(study, name).text == why


def test_the_columns_stand_in_the_order_of_their_importance(study: Study) -> None:
    settle(study, findings=REGRESSION, holdout={"rmse": 5.1})
    found = figure(study, "columns")
    assert found.text == "from the most important: size 3.5, age -0.25"
    assert found.plot is not None
    (bar,) = found.plot["data"]
    assert (bar["x"], bar["y"]) == ([-0.25, 3.5], ["age", "size"])


def test_columns_of_one_name_have_a_bar_each(study: Study) -> None:
    settle(study, findings=REGRESSION | {"importance": [("x", 3.0), ("x", 2.0)]}, holdout={})
    found = figure(study, "columns")
    assert found.plot is not None
    assert len(set(found.plot["data"][0]["y"])) == 2


def test_a_regressions_errors_are_dots_around_the_line(study: Study) -> None:
    settle(study, findings=REGRESSION, holdout={"rmse": 5.1})
    found = figure(study, "errors")
    assert found.text == "2 held-out rows, true values from 1.5 to 9, rmse 5.1"
    assert found.plot is not None
    dots, line = found.plot["data"]
    assert (dots["x"], dots["y"]) == ([1.0, 2.0], [1.5, 9])
    assert line["x"] == line["y"] == [1.0, 9]
    settle(study, findings=REGRESSION | {"rows": 5000}, holdout={})
    assert figure(study, "errors").text.startswith("2 of 5000 held-out rows, true values from 1.5")


def test_of_classes_it_says_which_are_confused(study: Study) -> None:
    settle(study, findings=CLASSES, holdout={"brier": 0.2})
    found = figure(study, "errors")
    assert found.text == (
        "11 of 15 held-out rows are in their true class; most often elm taken for oak 3 times"
    )
    cut = CLASSES | {"classes": ["oak", "oak", "ash"]}  # equal as far as names are kept
    settle(study, findings=cut, holdout={"brier": 0.2})
    plot = figure(study, "errors").plot
    assert plot is not None
    assert len(set(plot["data"][0]["x"])) == 3
    settle(study, findings={"importance": [("size", 1.0)]}, holdout={"brier": 0.2})
    assert figure(study, "errors").text == "There are too many classes to be drawn."


def test_each_worker_has_a_lane_and_one_of_several_threads_has_several(study: Study) -> None:
    settle(study)
    enter(study, 0, Span("tcp://a", 100.0, 102.0), Span("tcp://b", 101.0, 102.0))
    enter(study, 1, Span("tcp://a", 101.0, 103.0))
    enter(study, 2, Span("tcp://b", 102.0, 104.0))
    found = figure(study, "workers")
    assert found.plot is not None
    lanes = found.plot["layout"]["yaxis"]
    assert dict(zip(lanes["ticktext"], lanes["tickvals"], strict=True)) == {
        "tcp://a": 2,
        "tcp://a (2)": 1,
        "tcp://b": 0,
    }
    (strokes,) = found.plot["data"]
    assert strokes["x"] == [0, 2, None, 1, 2, None, 1, 3, None, 2, 4, None]
    assert strokes["y"] == [2, 2, None, 0, 0, None, 1, 1, None, 0, 0, None]
    assert strokes["text"][:2] == ["tcp://a: trial 0"] * 2
    busy = f"{7 / 12:.0%}"
    assert found.text == (
        f"workers: 2, growing for {busy} of 4 seconds; 7 seconds of growing in all"
    )


def test_the_time_between_launches_is_cut_out_of_the_timeline(study: Study) -> None:
    settle(study)
    enter(study, 0, Span("0", 100.0, 102.0))
    enter(study, 1, Span("0", 5000.0, 5001.0))
    found = figure(study, "workers")
    assert found.plot is not None
    assert found.plot["data"][0]["x"] == [0, 2, None, 2, 3, None]
    assert "100% of 3 seconds" in found.text


def test_who_grew_is_not_known_of_a_study_made_elsewhere(study: Study) -> None:
    study.optuna.add_trial(optuna.trial.create_trial(value=1.0))
    assert figure(study, "workers").text == "The trials do not say who grew them."
    html = make_report(study).html
    assert "This study was not made by Grovekeeper." in html


def test_the_page_tells_how_to_make_everything_again(study: Study) -> None:
    model = {"name": "homes", "version": 3, "trial": 0, "trees": 186}
    notes = {
        "model": model,
        "champion": {"name": "homes", "trial": 0, "trees": 186},
        "versions": {"numpy": "2"},
    }
    settle(study, findings=REGRESSION, holdout={"rmse": 5.1}, **notes)
    enter(study, 0)
    html = make_report(study).html
    for line in (
        "grovekeeper reproduce homes --version 3",
        "grovekeeper reproduce houses --trial 0",
        "grovekeeper launch --config houses.toml --workers 1",
        "data = &quot;houses.csv&quot;",
        "Made with numpy 2.",
        "<td>trial 0, refitted with 186 trees</td>",
        '<th scope="row">hold-out rmse</th><td>5.1</td>',
    ):
        assert line in html


def test_a_table_that_was_in_memory_is_asked_for_where_everything_is_made_again(
    study: Study,
) -> None:
    settle(study)
    spec = read_initialized(study).spec
    memory = spec.description.model_copy(update={"source": "frame"})
    study.write(StudyNotes(spec=spec.model_copy(update={"description": memory})))
    enter(study, 0)
    html = make_report(study).html
    assert "grovekeeper reproduce houses --trial 0 --data FILE" in html
    assert "grovekeeper launch --config houses.toml --workers 1 --data FILE" in html
    assert "FILE is the table that was in memory, or piped, written out." in html


def test_the_main_figures_are_files_beside_the_page(study: Study) -> None:
    settle(
        study,
        findings=REGRESSION,
        holdout={"rmse": 5.1},
        champion={"name": "houses", "trial": 0, "trees": 120},
    )
    for number in range(12):
        enter(study, number, Span("0", number, number + 1.0))
    files = report_files(study)
    assert set(files) == {
        "report.html",
        *(f"{name}.png" for name in ("history", "curves", "importance", "parallel", "workers")),
    }
    assert files["report.html"].startswith(b"<!DOCTYPE html>")
    for name in set(files) - {"report.html"}:
        picture = image.imread(BytesIO(files[name]), format="png")
        assert picture.shape[0] > 300
        assert picture[..., :3].std() > 0.02  # something is drawn


def test_every_figure_of_lines_dots_and_bars_can_be_drawn(study: Study) -> None:
    settle(study, findings=CLASSES, holdout={"brier": 0.2})
    for number in range(12):
        enter(study, number, Span("0", number, number + 1.0))
    figures = make_report(study).figures
    assert {f.name for f in figures if draw(f) is None} == {"errors"}  # a matrix


def test_names_are_no_formulas_and_hold_nothing_unseen(study: Study) -> None:
    importance = [("$\\frac{$", 3.5), ("\x1b[31m\u202e", 1.0)]
    settle(study, findings=REGRESSION | {"importance": importance}, holdout={"rmse": 5.1})
    page = make_report(study)
    drawn = [figure for figure in page.figures if "frac" in str(figure.plot)]
    assert drawn
    assert all(draw(figure) for figure in drawn)
    own = page.html.partition("<script>")[0] + page.html.rpartition("<script>")[2]
    assert "u202e" in own
    assert not any(sign in own for sign in "\x1b\u202e")


def test_what_is_not_shown_is_not_drawn(study: Study) -> None:
    settle(study, champion={"name": "houses", "trial": 0, "trees": 120})
    assert set(report_files(study)) == {"report.html"}


def test_before_a_study_has_a_champion_its_run_keeps_no_report(study: Study) -> None:
    settle(study)
    enter(study, 0)
    assert report_files(study) == {}

"""The report's sections on the champion and the workers, and the files kept with the run."""

from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import optuna
import pytest
from matplotlib import image
from matplotlib.axes import Axes
from optuna.distributions import CategoricalDistribution, FloatDistribution
from settled import settle

from search.plotting import to_png
from search.report import Figure, make_report, report_files
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
def study(book: StudyBook) -> Study:
    return book.make("houses", "minimize")


def enter(study: Study, number: int, *spans: Span) -> None:
    """Add a complete trial that was grown in these spans."""
    params = {"max_features": 0.1 + number / 40, "splitter": ("best", "random")[number % 2]}
    record = TrialRecord(
        number,
        "COMPLETE",
        params,
        scores={16: 9.0, 128: 5.0 + number},
        value=5.0 + number,
        steps=128,
        started=NOW + timedelta(seconds=number),
        ended=NOW + timedelta(seconds=number + 1),
        spans=spans,
    )
    study.enter_trial(record, SPACE)


def figure(study: Study, name: str) -> Figure:
    (found,) = [f for f in make_report(study).figures if f.name == name]
    return found


def axes(figure: Figure) -> Axes:
    assert figure.plot is not None
    return figure.plot


def tick_labels(axis: Any) -> list[str]:
    return [text.get_text() for text in axis.get_ticklabels()]


@pytest.mark.parametrize(
    ("notes", "why"),
    [
        ({}, "The study has no champion yet."),
        (
            {"holdout": None, "champion": {"name": "houses", "trial": 0, "trees": 9}},
            "No rows were held out, so the champion's errors are unknown.",
        ),
    ],
)
def test_missing_diagnostics_are_explained(study: Study, notes: dict[str, Any], why: str) -> None:
    settle(study, **notes)
    for name in ("columns", "errors"):
        assert figure(study, name).plot is None
        assert figure(study, name).text == why


def test_columns_are_sorted_by_importance(study: Study) -> None:
    settle(study, findings=REGRESSION, holdout={"rmse": 5.1})
    found = figure(study, "columns")
    assert found.text == "from the most important: size 3.5, age -0.25"
    assert [bar.get_width() for bar in axes(found).patches] == [3.5, -0.25]
    assert tick_labels(axes(found).yaxis) == ["size", "age"]
    assert axes(found).yaxis_inverted()


def test_columns_with_equal_names_have_separate_bars(study: Study) -> None:
    settle(study, findings=REGRESSION | {"importance": [("x", 3.0), ("x", 2.0)]}, holdout={})
    assert len({bar.get_y() for bar in axes(figure(study, "columns")).patches}) == 2


def test_regression_errors_are_dots_around_the_diagonal(study: Study) -> None:
    settle(study, findings=REGRESSION, holdout={"rmse": 5.1})
    found = figure(study, "errors")
    assert found.text == "2 held-out rows, true values from 1.5 to 9, rmse 5.1"
    assert axes(found).collections[0].get_offsets().tolist() == [[1.0, 1.5], [2.0, 9]]
    assert axes(found).lines[0].get_xydata().tolist() == [[1.0, 1.0], [9, 9]]
    settle(study, findings=REGRESSION | {"rows": 5000}, holdout={})
    assert figure(study, "errors").text.startswith("2 of 5000 held-out rows, true values from 1.5")


def test_the_most_frequent_confusion_of_classes_is_named(study: Study) -> None:
    settle(study, findings=CLASSES, holdout={"brier": 0.2})
    found = figure(study, "errors")
    assert found.text == (
        "11 of 15 held-out rows are predicted correctly; the most frequent error: "
        "elm is predicted as oak (3 rows)"
    )
    cut = CLASSES | {"classes": ["oak", "oak", "ash"]}  # names that were cut to equal ones
    settle(study, findings=cut, holdout={"brier": 0.2})
    assert len(set(axes(figure(study, "errors")).get_xticks())) == 3
    settle(study, findings={"importance": [("size", 1.0)]}, holdout={"brier": 0.2})
    assert figure(study, "errors").text == "There are too many classes for a confusion matrix."


def spans(figure: Figure) -> list[tuple[float, float, float]]:
    """Return each bar as its row, its start and its end."""
    boxes = [path.get_extents() for bars in axes(figure).collections for path in bars.get_paths()]
    return sorted((round(box.y0 + box.y1) / 2, box.x0, box.x1) for box in boxes)


def test_each_thread_of_a_worker_has_a_row(study: Study) -> None:
    settle(study)
    enter(study, 0, Span("tcp://a", 100.0, 102.0), Span("tcp://b", 101.0, 102.0))
    enter(study, 1, Span("tcp://a", 101.0, 103.0))
    enter(study, 2, Span("tcp://b", 102.0, 104.0))
    found = figure(study, "workers")
    assert tick_labels(axes(found).yaxis) == ["tcp://a", "tcp://a (2)", "tcp://b"]
    assert axes(found).yaxis_inverted()
    assert spans(found) == [(0, 0, 2), (1, 1, 3), (2, 1, 2), (2, 2, 4)]
    busy = f"{7 / 12:.0%}"
    assert found.text == (
        f"workers: 2, growing for {busy} of 4 seconds; 7 seconds of growing in total"
    )


def test_the_time_between_launches_is_cut_out_of_the_timeline(study: Study) -> None:
    settle(study)
    enter(study, 0, Span("0", 100.0, 102.0))
    enter(study, 1, Span("0", 5000.0, 5001.0))
    found = figure(study, "workers")
    assert spans(found) == [(0, 0, 2), (0, 2, 3)]
    assert "100% of 3 seconds" in found.text


def test_a_study_of_another_program_has_no_timeline(study: Study) -> None:
    study.optuna.add_trial(optuna.trial.create_trial(value=1.0))
    assert figure(study, "workers").text == "The trials have no record of their workers."
    html = make_report(study).html
    assert "This study was not made by Grovekeeper." in html


def test_the_page_lists_the_commands_that_reproduce_the_study(study: Study) -> None:
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
        "data = &#34;houses.csv&#34;",
        "Versions: numpy 2.",
        "<td>trial 0, refitted with 186 trees</td>",
        '<th scope="row">hold-out rmse</th><td>5.1</td>',
    ):
        assert line in html


def test_commands_for_a_table_that_was_in_memory_ask_for_a_file(
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
    assert "FILE is the table that was in memory or piped in, saved as a file." in html


@pytest.mark.slow
def test_the_main_figures_are_kept_as_images_with_the_page(study: Study) -> None:
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


@pytest.mark.slow
def test_every_figure_can_be_saved_as_an_image(study: Study) -> None:
    settle(study, findings=CLASSES, holdout={"brier": 0.2})
    for number in range(12):
        enter(study, number, Span("0", number, number + 1.0))
    for found in make_report(study).figures:
        assert found.plot is not None
        picture = image.imread(BytesIO(to_png(found.plot, found.title)), format="png")
        assert picture[..., :3].std() > 0.02


def test_formulas_and_control_characters_in_names_are_shown_as_text(study: Study) -> None:
    importance = [("$\\frac{$", 3.5), ("\x1b[31m\u202e", 1.0), ("表 ✓", 0.5)]
    settle(study, findings=REGRESSION | {"importance": importance}, holdout={"rmse": 5.1})
    page = make_report(study)
    (found,) = [figure for figure in page.figures if figure.name == "columns"]
    assert tick_labels(axes(found).yaxis) == ["$\\frac{$", "\\u001b[31m\\u202e", "表 ✓"]
    assert found.plot is not None
    assert to_png(found.plot, found.title)
    assert ">$\\frac{$</text>" in page.html
    assert "u202e" in page.html
    assert not any(sign in page.html for sign in "\x1b\u202e")


def test_missing_figures_have_no_image(study: Study) -> None:
    settle(study, champion={"name": "houses", "trial": 0, "trees": 120})
    assert set(report_files(study)) == {"report.html"}


def test_without_a_champion_there_are_no_report_files(study: Study) -> None:
    settle(study)
    enter(study, 0)
    assert report_files(study) == {}

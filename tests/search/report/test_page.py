"""Each figure of the report shows its data, or gives the reason why it is missing."""

import re
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta
from html import escape
from html.parser import HTMLParser
from typing import Any

import numpy as np
import optuna
import pytest
from empty_figures import empty_figures
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState
from optuna_stores import copy_tables
from settled import settle

from search.plotting import log_ticks
from search.report import Figure, Report, make_report
from search.study.notes import StudyNotes
from storage.studies.study import Study, StudyBook

BEGIN = datetime(2026, 1, 1)
SPACE: dict[str, BaseDistribution] = {
    "max_depth": CategoricalDistribution([None, 4, 8, 16]),
    "max_features": FloatDistribution(0.1, 1.0),
    "min_samples_leaf": IntDistribution(1, 64, log=True),
}
DEPTHS = (None, 16, 8, 4)


@pytest.fixture
def study(book: StudyBook) -> Study:
    made = book.make("houses", "minimize")
    settle(made)
    return made


def add(
    study: Study,
    value: float | None = None,
    state: str = "COMPLETE",
    space: dict[str, BaseDistribution] | None = None,
    begin: float | None = None,
    **params: Any,
) -> None:
    """Add a trial that ran for one second from `begin` on; by default trials do not overlap."""
    trial = optuna.trial.create_trial(
        state=TrialState[state],
        value=value,
        params=params,
        distributions={name: (space or SPACE)[name] for name in params},
        intermediate_values={} if value is None else {32: value + 1, 128: value},
    )
    place = len(study.trials()) if begin is None else begin
    trial.datetime_start = BEGIN + timedelta(seconds=place)
    if state != "RUNNING":
        trial.datetime_complete = trial.datetime_start + timedelta(seconds=1)
    study.optuna.add_trial(trial)


def fill(study: Study, n: int = 20) -> None:
    """Add trials with falling values; every third one is pruned and the others are complete."""
    begin = len(study.trials())
    for place in range(n):
        params = {
            "max_depth": DEPTHS[place % 4],
            "max_features": 0.1 + 0.9 * place / n,
            "min_samples_leaf": 1 + 3 * place,
        }
        pruned = place % 3 == 1
        state = "PRUNED" if pruned else "COMPLETE"
        add(study, 60.0 - place, state, None, begin + place, **params)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """A study with 20 trials, which tests only read."""
    folder = tmp_path_factory.mktemp("filled")
    copy_tables(folder / "optuna.db")
    book = StudyBook(f"sqlite:///{folder}/optuna.db")
    made = book.make("houses", "minimize")
    settle(made)
    fill(made)
    yield made
    book.rdb.remove_session()
    book.rdb.engine.dispose()


@pytest.fixture(scope="module")
def report(filled: Study) -> Report:
    """The report of that study."""
    return make_report(filled)


def undrawn(study: Study) -> Report:
    """Return the report of a study; its figures have their axes, but are empty in the page."""
    with empty_figures():
        return make_report(study)


def figures_of(study: Study, guide: str | None = None) -> dict[str, Figure]:
    """Return the figures on the search, by name, without drawing them."""
    if guide:
        study.write(StudyNotes(guide=guide))
    return search_figures(undrawn(study))


def search_figures(report: Report) -> dict[str, Figure]:
    """Return the figures on the search, by name."""
    others = {"columns", "errors", "workers"}
    return {f.name: f for f in report.figures if f.name not in others}


def missing(figures: dict[str, Figure]) -> dict[str, str]:
    return {name: figure.text for name, figure in figures.items() if figure.plot is None}


def axes(figure: Figure) -> Axes:
    assert figure.plot is not None
    return figure.plot


def line(figure: Figure, name: str) -> Line2D:
    """Return the line whose legend entry starts with `name`."""
    (found,) = [x for x in axes(figure).lines if str(x.get_label()).startswith(name)]
    return found


def points(figure: Figure) -> list[list[float]]:
    """Return the coordinates of the dots."""
    return axes(figure).collections[0].get_offsets().tolist()


def tick_labels(axis: Any) -> list[str]:
    return [text.get_text() for text in axis.get_ticklabels()]


def coordinate_labels(figure: Figure, place: int) -> list[str]:
    """Return the labels on an axis of the parallel coordinates, from the bottom up."""
    texts = [
        (t.get_position()[1], t.get_text())
        for t in axes(figure).texts
        if round(t.get_position()[0]) == place
    ]
    return [text for _, text in sorted(texts)]


class Elements(HTMLParser):
    """Collects the page's elements with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_a_searched_study_has_every_figure_with_its_text(report: Report) -> None:
    figures = search_figures(report)
    slices = [name for name in figures if name.startswith("slice-")]
    assert list(figures) == ["history", "time", "curves", "importance", *slices, "parallel"]
    assert len(slices) == 3
    assert missing(figures) == {}
    assert figures["history"].text == "best rmse 42 at trial 18 of 20"
    assert figures["time"].text == "best rmse 42 after 19 of 20 seconds"
    assert "20 trials, 7 of them pruned; the best, trial 18, has rmse 43 at 32 trees" in (
        figures["curves"].text
    )
    assert re.search("max_features 0\\.[0-9]+", figures["importance"].text)
    assert "best rmse 42 at max_depth 8" in {figures[name].text for name in slices}
    assert "the best, trial 18: rmse 42 with" in figures["parallel"].text


def test_the_page_is_small_and_needs_neither_network_nor_script(report: Report) -> None:
    html = report.html
    assert "http" not in html.replace("http-equiv", "")
    assert "default-src 'none'" in html
    assert "<script" not in html
    assert len(html) < 300_000


def test_each_figure_has_a_heading_a_caption_and_a_text_alternative(report: Report) -> None:
    elements = Elements()
    elements.feed(report.html)
    images = {at["id"]: at for _, at in elements.found if at.get("role") == "img"}
    shown = [figure for figure in report.figures if figure.plot is not None]
    assert set(images) == {figure.name for figure in shown}
    for figure in shown:
        assert images[figure.name]["aria-label"] == figure.text
        assert f"<h3>{figure.title}</h3>" in report.html
        assert escape(figure.caption) in report.html
        assert re.fullmatch(r"[^.]+(\d\.\d[^.]*)?\.", figure.caption)
    tags = [tag for tag, _ in elements.found]
    assert tags.count("h3") == len(report.figures)
    assert tags.count("svg") == len(shown)
    assert tags.count("h1") == 1
    assert ("html", {"lang": "en"}) in elements.found


def test_the_figures_in_the_page_have_their_labels_as_text(report: Report) -> None:
    for text in ("rmse (lower is better)", "max_features", "best so far", "best (trial 18)"):
        assert f">{text}</text>" in report.html


def test_a_report_is_reproducible_and_independent_of_the_users_style(
    filled: Study, report: Report
) -> None:
    import matplotlib

    with matplotlib.rc_context({"font.size": 30, "text.usetex": True, "axes.facecolor": "black"}):
        assert make_report(filled).html == report.html
        assert matplotlib.rcParams["font.size"] == 30


@pytest.mark.slow
def test_the_direction_is_respected(book: StudyBook) -> None:
    study = book.make("flats", "maximize")
    settle(study, "r2")
    fill(study)
    figures = figures_of(study)
    assert figures["history"].text == "best r2 60 at trial 0 of 20"
    assert figures["time"].text == "best r2 60 after 1 of 20 seconds"
    assert set(np.asarray(line(figures["history"], "best so far").get_ydata())) == {60.0}
    assert axes(figures["history"]).get_ylabel() == "r2 (higher is better)"
    assert figures["parallel"].text.startswith("the best, trial 0: r2 60")
    best = axes(figures["parallel"]).lines[-1]  # drawn last, on top
    assert np.asarray(best.get_ydata())[0] == 1.0


def test_without_trials_every_figure_gives_a_reason(study: Study) -> None:
    figures = figures_of(study)
    assert set(missing(figures)) == set(figures)
    assert set(figures) == {"history", "time", "curves", "importance", "slices", "parallel"}
    assert "Trials: none." in undrawn(study).html


def test_without_a_complete_trial_only_the_curves_are_shown(study: Study) -> None:
    add(study, 50.0, "PRUNED", max_features=0.5)
    add(study, None, "FAIL", max_features=0.6)
    add(study, None, "RUNNING", max_features=0.7)
    figures = figures_of(study)
    assert set(missing(figures)) == {"history", "time", "importance", "slices", "parallel"}
    assert set(missing(figures).values()) == {"No trial is complete yet."}
    assert figures["curves"].text == "1 trials, 1 of them pruned"
    assert "Trials: 1 pruned, 1 failed, 1 running." in undrawn(study).html


def test_one_trial_has_a_history_and_nothing_to_compare(study: Study) -> None:
    add(study, 50.0, max_features=0.5, max_depth=None)
    figures = figures_of(study)
    assert set(missing(figures)) == {"importance", "slices", "parallel"}
    (why,) = set(missing(figures).values())
    assert "nothing to compare" in why
    assert figures["history"].text == "best rmse 50 at trial 0 of 1"


def test_a_constant_parameter_has_no_slice_but_its_value_is_shown(study: Study) -> None:
    for place in range(12):
        features = 0.2 + place / 20
        add(study, 50.0 + place, max_depth=8, max_features=features, min_samples_leaf=1 + place)
    figures = figures_of(study)
    assert {name for name in figures if name.startswith("slice-")} == {"slice-1", "slice-2"}
    assert missing(figures) == {"constant": "In every complete trial max_depth was 8."}
    assert "max_depth" not in figures["importance"].text
    assert "max_depth" not in figures["parallel"].text


def test_one_parameter_has_a_slice_only(study: Study) -> None:
    for place in range(12):
        add(study, 50.0 + place, max_features=0.2 + place / 20)
    figures = figures_of(study)
    assert set(missing(figures)) == {"importance", "parallel"}
    assert figures["importance"].text == "Only max_features had more than one value."
    assert "see its slice" in figures["parallel"].text
    assert figures["slice-1"].title == "Slice: max_features"


@pytest.mark.slow
@pytest.mark.parametrize("params", [{}, {"max_depth": 4}])
def test_parameters_that_never_vary_have_no_figures(study: Study, params: dict[str, Any]) -> None:
    add(study, 50.0, **params)
    add(study, 51.0, **params)
    figures = figures_of(study)
    assert set(missing(figures)) == {"importance", "slices", "parallel"}
    expected = "In every complete trial max_depth was 4." if params else "have no hyperparameters"
    assert expected in figures["slices"].text


@pytest.mark.slow
def test_few_trials_or_equal_values_have_no_importance(study: Study, book: StudyBook) -> None:
    fill(study, 9)
    assert "needs 10 complete trials; this study has 6" in missing(figures_of(study))["importance"]
    equal = book.make("equal", "minimize")
    for place in range(12):
        add(equal, 1.0, max_features=0.2 + place / 20, min_samples_leaf=1 + place)
    figures = figures_of(equal)
    assert missing(figures) == {"importance": "All complete trials have the same value."}


@pytest.mark.slow
def test_failed_trials_are_counted_but_not_drawn(study: Study) -> None:
    add(study, None, "FAIL", max_features=0.5)
    fill(study)
    add(study, None, "FAIL", max_features=0.5)
    figures = figures_of(study)
    assert missing(figures) == {}
    assert figures["history"].text == "best rmse 42 at trial 19 of 22"
    assert 0 not in [x for x, _ in points(figures["history"])]
    assert "2 failed" in undrawn(study).html


def test_categories_are_drawn_in_the_order_of_their_choices(filled: Study, report: Report) -> None:
    figures = search_figures(report)
    (depth,) = [f for f in figures.values() if f.title == "Slice: max_depth"]
    assert tick_labels(axes(depth).xaxis) == ["none", "4", "8", "16"]
    assert {x for x, _ in points(depth)} == {0.0, 1.0, 2.0, 3.0}
    parallel = figures["parallel"]
    assert coordinate_labels(parallel, 1) == ["none", "4", "8", "16"]
    complete = [t for t in filled.trials() if t.state == "COMPLETE"]
    choices = [None, 4, 8, 16]
    expected = [choices.index(t.params["max_depth"]) / 3 for t in complete]
    lines = [*axes(parallel).collections[0].get_segments(), axes(parallel).lines[-1].get_xydata()]
    assert sorted(heights[1, 1] for heights in lines) == pytest.approx(sorted(expected))


def test_a_logarithmic_parameter_has_a_logarithmic_axis(report: Report) -> None:
    (leaf,) = [f for f in report.figures if f.title == "Slice: min_samples_leaf"]
    assert axes(leaf).get_xscale() == "log"
    assert tick_labels(axes(leaf).xaxis) == ["1", "2", "5", "10", "20", "50"]
    assert "logarithmic" in leaf.caption


def test_ticks_of_a_logarithmic_axis_are_never_missing() -> None:
    assert log_ticks(1, 1e6)[:2] == [1, 10]
    assert log_ticks(0.001, 0.02) == pytest.approx([0.001, 0.002, 0.005, 0.01, 0.02])
    assert log_ticks(3, 4) == [3, 4]


def test_time_between_launches_is_left_out(study: Study) -> None:
    add(study, 50.0, begin=0, max_features=0.1)
    add(study, 49.0, begin=0.5, max_features=0.2)
    add(study, 48.0, begin=1000, max_features=0.3)
    figure = figures_of(study)["time"]
    assert figure.text == "best rmse 48 after 2.5 of 2.5 seconds"


def test_an_interrupted_trial_that_was_found_later_adds_no_time(study: Study) -> None:
    add(study, 50.0, begin=0, max_features=0.1)
    dead = optuna.trial.create_trial(state=TrialState.FAIL, user_attrs={"interrupted": True})
    dead.datetime_start = BEGIN
    dead.datetime_complete = BEGIN + timedelta(days=3)
    study.optuna.add_trial(dead)
    assert figures_of(study)["time"].text == "best rmse 50 after 1 of 1 seconds"


def test_without_times_the_figure_gives_the_reason(study: Study) -> None:
    for value in (2.0, 1.0):
        trial = optuna.trial.create_trial(value=value)
        trial.datetime_start = trial.datetime_complete = BEGIN
        study.optuna.add_trial(trial)
    assert missing(figures_of(study))["time"] == "The trials have no times."


@pytest.mark.slow
def test_pruned_curves_are_pale_and_the_best_is_thick(study: Study) -> None:
    fill(study)
    add(study, None, "RUNNING", max_features=0.5)
    study.report(20, 32, 50.0)
    curves = figures_of(study)["curves"]
    names = [x.get_label() for x in axes(curves).lines]
    assert names == ["pruned (7)", "running (1)", "complete (12)", "best (trial 18)"]
    pruned, best = line(curves, "pruned"), line(curves, "best")
    np.testing.assert_equal(np.asarray(pruned.get_xdata())[:3], [32, 128, np.nan])
    np.testing.assert_equal(np.asarray(pruned.get_ydata())[:3], [60.0, 59.0, np.nan])
    assert to_hex(pruned.get_color()) != to_hex(line(curves, "complete").get_color())
    assert best.get_linewidth() > pruned.get_linewidth()
    assert tick_labels(axes(curves).xaxis) == ["32", "128"]


@pytest.mark.slow
def test_curves_show_the_guide_if_the_metric_has_one(study: Study) -> None:
    settle(study, "log_loss")
    fill(study)
    figures = figures_of(study, "brier")
    assert figures["curves"].title == "brier by number of trees"
    assert "has brier 43 at 32 trees" in figures["curves"].text
    assert axes(figures["curves"]).get_ylabel() == "brier"
    assert figures["history"].text.startswith("best log_loss 42")
    assert "brier" not in figures["parallel"].text


def test_trials_without_reports_have_no_curves(study: Study) -> None:
    study.optuna.add_trial(optuna.trial.create_trial(value=1.0))
    assert "No trial has reported" in missing(figures_of(study))["curves"]


def test_a_step_of_zero_leaves_the_axis_linear(study: Study) -> None:
    study.optuna.add_trial(
        optuna.trial.create_trial(value=1.0, intermediate_values={0: 2.0, 1: float("nan")})
    )
    assert axes(figures_of(study)["curves"]).get_xscale() == "linear"
    assert "nan" not in make_report(study).html.lower()


@pytest.mark.slow
def test_names_are_escaped_and_shown_as_they_are(book: StudyBook) -> None:
    name = "</script><b onclick='x'>&amp;"
    study = book.make(name, "minimize")
    evil = "<img src=x onerror=alert(1)>"
    found = {"importance": [(evil, 1.0)], "classes": ["<u>a", "b"], "confusion": [[1, 2], [0, 3]]}
    model = {"name": evil, "version": 1, "trial": 0, "trees": 100}
    settle(study, "<i>rmse", findings=found, holdout={"<i>rmse": 1.0}, model=model)
    space: dict[str, BaseDistribution] = {
        evil: FloatDistribution(0, 1),
        "kind": CategoricalDistribution(["<u>a", "b"]),
    }
    for place in range(12):
        kind = ("b", "<u>a")[place % 2]
        add(study, 1.0 + place, "COMPLETE", space, None, **{evil: place / 12, "kind": kind})
    page = make_report(study)
    shown = {figure.name: figure for figure in page.figures}
    assert set(missing(shown)) == {"workers"}
    elements = Elements()
    elements.feed(page.html)
    tags = {tag for tag, _ in elements.found}
    assert tags.isdisjoint({"img", "b", "i", "u", "script"})
    assert not any(name.startswith("on") for _, at in elements.found for name in at)
    assert f">{escape(evil, quote=False)}</text>" in page.html
    assert ">&lt;u&gt;a</text>" in page.html
    assert "&amp;lt;" not in page.html


@pytest.mark.slow
def test_infinite_values_are_left_out(study: Study) -> None:
    fill(study)
    add(study, float("inf"), max_features=0.5, max_depth=4, min_samples_leaf=1)
    add(study, float("-inf"), max_features=0.5, max_depth=4, min_samples_leaf=1)
    figures = search_figures(make_report(study))
    assert missing(figures) == {}
    assert figures["history"].text == "best rmse 42 at trial 18 of 22"


@pytest.mark.slow
def test_parameters_that_some_trials_lack_are_drawn(study: Study) -> None:
    fill(study)
    for place in range(6):
        add(study, 70.0 + place, max_features=0.5 + place / 20)
    add(study, 80.0, max_depth=4)
    assert missing(search_figures(make_report(study))) == {}


@pytest.mark.slow
def test_a_changed_range_is_drawn(study: Study) -> None:
    fill(study)
    wide: dict[str, BaseDistribution] = {"max_features": FloatDistribution(0.01, 2.0)}
    add(study, 70.0, "COMPLETE", wide, None, max_features=1.5)
    assert missing(search_figures(make_report(study))) == {}


def test_the_first_of_several_objectives_is_drawn(book: StudyBook) -> None:
    theirs = optuna.create_study(
        study_name="theirs", storage=book.storage, directions=["maximize", "minimize"]
    )
    for place in range(12):
        theirs.add_trial(
            optuna.trial.create_trial(
                values=[float(place), 1.0],
                params={"max_features": 0.2 + place / 20, "min_samples_leaf": 1 + place % 3},
                distributions={name: SPACE[name] for name in ("max_features", "min_samples_leaf")},
            )
        )
    figures = search_figures(make_report(book.open("theirs")))
    assert figures["history"].text == "best value 11 at trial 11 of 12"
    assert "time" in figures
    assert set(missing(figures)) <= {"time", "curves"}


@pytest.mark.slow
def test_many_trials_are_drawn_as_a_few_traces_and_sampled_lines(study: Study) -> None:
    fill(study, 3)
    trials = []
    for place in range(230):
        params = {"max_features": 0.1 + place / 1000, "min_samples_leaf": 1 + place % 60}
        space = {name: SPACE[name] for name in params}
        trials.append(
            optuna.trial.create_trial(
                value=100.0 + place, params=params, distributions=space, intermediate_values={32: 1}
            )
        )
    study.optuna.add_trials(trials)
    page = make_report(study)
    figures = {figure.name: figure for figure in page.figures}
    parallel = axes(figures["parallel"])
    assert len(parallel.collections[0].get_segments()) + 1 == 200  # plus the line of the best trial
    assert "200 evenly chosen" in figures["parallel"].caption
    assert figures["parallel"].text.startswith("the best, trial 2: rmse 58")
    assert len(axes(figures["curves"]).lines) == 3


@pytest.mark.slow
def test_equal_importances_keep_their_order(study: Study) -> None:
    space: dict[str, BaseDistribution] = {name: FloatDistribution(0, 1) for name in "cab"}
    for place in range(12):
        add(study, float(place), "COMPLETE", space, None, **dict.fromkeys("cab", place / 12))
    figures = figures_of(study)
    assert [figures[f"slice-{place}"].title for place in (1, 2, 3)] == [
        *("Slice: a", "Slice: b", "Slice: c")
    ]


@pytest.mark.slow
def test_a_report_emits_no_warning_and_prints_nothing(
    study: Study, capfd: pytest.CaptureFixture[str]
) -> None:
    fill(study)
    add(study, float("inf"), max_features=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_report(study)
    assert capfd.readouterr() == ("", "")

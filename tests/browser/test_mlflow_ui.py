"""The MLflow UI shows studies, trials and versions after `launch` and `promote`."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urljoin

import pytest
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.slow

# Type of a fixture, repeated here because a conftest should not be imported.
OpenPage = Callable[[str], Page]
TRIALS = [f"trial-{number:04d}" for number in range(10)]


def runs(study: Any) -> str:
    """Return the route of the experiment's list of runs."""
    return f"/experiments/{study.experiment_id}/runs"


def matching(study: Any, condition: str) -> str:
    """Return the route of the runs that meet a condition, best first.

    If runs are sorted by creation time, MLflow adds their parents and folds the runs away.
    """
    query = {"searchFilter": condition, "orderByKey": "metrics.`rmse`", "orderByAsc": "true"}
    query |= {"startTime": "ALL", "lifecycleFilter": "Active"}
    return f"{runs(study)}?{urlencode(query)}"


def named(page: Page, name: str) -> Locator:
    """Return the cell with exactly this run's name in the list of runs."""
    cells = page.locator("[col-id='attributes.`Run Name`']")
    return cells.filter(has=page.get_by_role("link", name=name, exact=True))


def test_the_list_of_runs_shows_the_study_with_its_trials_folded_away(
    study: Any, open_page: OpenPage
) -> None:
    page = open_page(runs(study))
    expect(named(page, "diabetes")).to_be_visible()
    expect(page.get_by_text("11 matching runs")).to_be_visible()
    expect(named(page, TRIALS[0])).to_have_count(0)
    named(page, "diabetes").get_by_role("button").click()
    for name in TRIALS:
        expect(named(page, name)).to_be_visible()


def test_a_filter_on_the_parent_lists_exactly_the_trials(study: Any, open_page: OpenPage) -> None:
    page = open_page(matching(study, f"tags.`mlflow.parentRunId` = '{study.run_id}'"))
    expect(page.get_by_text("10 matching runs")).to_be_visible()
    for name in TRIALS:
        expect(named(page, name)).to_be_visible()


def test_the_studys_view_lists_its_trials_best_first(view: str, open_page: OpenPage) -> None:
    page = open_page(view)
    expect(page.get_by_text("10 matching runs")).to_be_visible()
    shown = page.locator("[col-id='metrics.`rmse`'][role='gridcell']")
    expect(shown).to_have_count(len(TRIALS))
    scores = [float(text.removesuffix("...")) for text in shown.all_inner_texts()]
    assert scores == sorted(scores)
    for column in ("optuna.trial.state", "n_estimators", "max_features"):
        expect(page.get_by_role("columnheader", name=column).first).to_be_visible()


def test_the_views_charts_have_a_curve_for_each_trial(view: str, open_page: OpenPage) -> None:
    page = open_page(f"{view}&compareRunsMode=CHART")
    for name in TRIALS:
        expect(page.get_by_text(f"{name} (rmse)")).to_be_attached()
    expect(page.get_by_text("Parallel Coordinates")).to_be_visible()


def test_the_studys_page_has_a_note_that_links_to_its_trials(
    study: Any, open_page: OpenPage
) -> None:
    page = open_page(f"/experiments/{study.experiment_id}/runs/{study.run_id}")
    expect(page.get_by_text("10 of 10 trials finished")).to_be_visible()
    link = page.get_by_role("link", name="as a table")
    expect(link).to_be_visible()
    # A click would load the UI again, in another tab.
    page.goto(urljoin(page.url, link.get_attribute("href")))
    expect(page.get_by_text("10 matching runs")).to_be_visible()


def test_a_trials_page_shows_its_score_its_parameters_and_its_study(
    study: Any, open_page: OpenPage
) -> None:
    best = json.loads(study.run("show", "diabetes", "--json"))["best"]
    page = open_page(matching(study, f"tags.`optuna.trial.number` = '{best['number']}'"))
    named(page, f"trial-{best['number']:04d}").get_by_role("link").click()
    for text in ("rmse", str(best["value"]), "n_estimators", *best["params"]):
        expect(page.get_by_role("cell", name=text, exact=True)).to_be_visible()
    parent = page.locator(f"a[href*='/runs/{study.run_id}']")
    expect(parent).to_have_text("diabetes")


def test_a_promoted_version_shows_its_alias_and_its_stage(study: Any, open_page: OpenPage) -> None:
    page = open_page("/models/diabetes")
    version = page.get_by_role("link", name="Version 1")
    expect(version).to_be_visible()
    expect(page.get_by_text("@ staging")).to_have_count(0)

    study.run("promote", "diabetes")

    page.reload()
    expect(page.get_by_text("@ staging")).to_be_visible()
    version.click()
    expect(page.get_by_text("@ staging")).to_be_visible()
    expect(page.get_by_text("Staging", exact=True)).to_be_visible()
    for text in ("Hyperparameters", "better than a constant forecast", "Versions"):
        expect(page.get_by_text(text)).to_be_visible()


def test_the_run_shows_the_figures_of_its_champion(study: Any, open_page: OpenPage) -> None:
    best = json.loads(study.run("show", "diabetes", "--json"))["best"]
    for name in ("importance", "predictions"):
        picture = f"champion/trial-{best['number']:04d}/{name}.png"
        page = open_page(f"{runs(study)}/{study.run_id}/artifacts/{picture}")
        image = page.locator("main img, [data-testid*='artifact'] img, .image-outer-container img")
        expect(image.first).to_be_visible()
        assert image.first.evaluate("image => image.naturalWidth") > 300

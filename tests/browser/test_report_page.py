"""A study's report in a browser: as a file, on a phone, and among the run's artifacts."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

PLOTS = 8
FIGURE = "div[role='img']"


@pytest.fixture(scope="module")
def report(study: Any) -> str:
    """The address of the file that `grovekeeper report` writes."""
    study.run("report", "diabetes", "-o", "report.html")
    return str((study.folder / "report.html").as_uri())


def test_every_figure_is_drawn_without_network_access(report: str, page: Page) -> None:
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text))
    page.goto(report)
    figures = page.locator(FIGURE)
    assert figures.count() >= PLOTS
    for place in range(figures.count()):
        expect(figures.nth(place).locator("svg").first).to_be_attached()
        assert figures.nth(place).get_attribute("aria-label")
    assert requests == [report]
    assert errors == []


def test_on_a_phone_only_wide_figures_scroll_sideways(report: str, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    page.goto(report)
    expect(page.locator(FIGURE).first.locator("svg").first).to_be_attached()
    width, seen = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert width <= seen
    context.close()


@pytest.mark.slow
def test_the_studys_run_in_mlflow_shows_the_report(
    study: Any, open_page: Callable[[str], Page]
) -> None:
    run = f"/experiments/{study.experiment_id}/runs/{study.run_id}"
    page = open_page(f"{run}/artifacts/report/report.html")
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading", name="Champion")).to_be_visible()
    expect(frame.locator(FIGURE).first.locator("svg").first).to_be_attached()
    page = open_page(run)
    expect(page.get_by_role("link", name="report", exact=True)).to_be_visible()

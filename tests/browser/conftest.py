"""Fixtures for pages of MLflow in a real browser, served by `grovekeeper ui` for a real study."""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import COMMAND, grovekeeper, start, stop
from launched import copy_launched
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from processes import free_port

CHROMIUM = Path("/usr/bin/chromium")
# The flags for the network stop Chromium from looking up hosts of its vendor at every start.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
START_TIMEOUT = 120.0
# Milliseconds that a page may take on a busy machine. Tests that pass never wait this long.
PAGE_TIMEOUT = 60_000

expect.set_options(timeout=PAGE_TIMEOUT)


@dataclass(frozen=True)
class Study:
    """A launched study: its folder, and the ids of its experiment and run in MLflow."""

    folder: Path
    experiment_id: str
    run_id: str

    def run(self, *arguments: str) -> str:
        return grovekeeper(self.folder, *arguments)


@pytest.fixture(scope="session")
def chromium() -> Path:
    """Path of Debian's Chromium. If it is missing, tests fail in CI and are skipped elsewhere."""
    if not CHROMIUM.exists():
        reason = f"{CHROMIUM} is missing: apt-get install chromium"
        if os.environ.get("GROVEKEEPER_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return CHROMIUM


@pytest.fixture(scope="session")
def study(chromium: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of the diabetes data with ten trials."""
    folder = tmp_path_factory.mktemp("browser")
    copy_launched(folder)
    place = json.loads(grovekeeper(folder, "show", "diabetes", "--json"))["mlflow"]
    return Study(folder, place["experiment_id"], place["run_id"])


@pytest.fixture(scope="session")
def ui(study: Study) -> Iterator[str]:
    """The address that `grovekeeper ui` prints for the study's store."""
    said = study.folder / "ui.log"
    port = str(free_port())
    server = start(study.folder, said, COMMAND, "ui", "--study", "diabetes", "--port", port)
    try:
        yield printed_address(server, said)
    finally:
        stop(server)


@pytest.fixture
def view(study: Study, ui: str) -> str:
    """The route of the study's view, as `grovekeeper ui --study` prints it."""
    printed = (study.folder / "ui.log").read_text()
    found = re.search(rf"trials: {ui}/#(\S+)", printed)
    assert found is not None, printed
    return found[1]


def printed_address(server: "subprocess.Popen[bytes]", said: Path) -> str:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if found := re.search(r"http://127\.0\.0\.1:\d+", said.read_text()):
            return found[0]
        assert server.poll() is None, said.read_text()
        time.sleep(0.1)
    pytest.fail(f"`grovekeeper ui` printed no address: {said.read_text()}")


@pytest.fixture(scope="package")
def browser(chromium: Path) -> Iterator[Browser]:
    """Chromium, started once for the tests of this folder.

    Playwright keeps an event loop running in this thread, which would disturb other tests if the
    browser lived as long as the session.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser that has seen MLflow before, so its assistant stays closed."""
    context = browser.new_context()
    context.set_default_timeout(PAGE_TIMEOUT)
    context.add_init_script(
        "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
    )
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """An empty page."""
    page = context.new_page()
    yield page
    page.close()


@pytest.fixture(scope="package")
def mlflow_page(context: BrowserContext) -> Iterator[Page]:
    """A page that has loaded the MLflow UI, which takes seconds, for all tests of this folder."""
    page = context.new_page()
    yield page
    page.close()


@pytest.fixture
def open_page(mlflow_page: Page, ui: str) -> Callable[[str], Page]:
    """Open a page of the MLflow UI by its route, the part of the address after `#`.

    The UI is loaded once: changing the route is what its own links do. Before the route, the list
    of experiments is opened, so that no content of an earlier route is taken for the new one.
    """

    def go(route: str) -> Page:
        mlflow_page.goto(f"{ui}/#/experiments")
        expect(mlflow_page.get_by_role("heading", name="Experiments", exact=True)).to_be_visible()
        mlflow_page.goto(f"{ui}/#{route}")
        return mlflow_page

    return go

"""MLflow's pages as people see them: a real study, the project's own `ui`, a real browser."""

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
from playwright.sync_api import Browser, Page, expect, sync_playwright
from processes import free_port

CHROMIUM = Path("/usr/bin/chromium")
# Without the switches for the network, Chromium looks its maker's hosts up at every start.
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
# What a page may take on a busy machine; none is ever waited out when all is well.
PAGE_TIMEOUT = 60_000

expect.set_options(timeout=PAGE_TIMEOUT)


@dataclass(frozen=True)
class Study:
    """A launched study: the folder that keeps it, and where MLflow has it."""

    folder: Path
    experiment_id: str
    run_id: str

    def run(self, *arguments: str) -> str:
        return grovekeeper(self.folder, *arguments)


@pytest.fixture(scope="session")
def chromium() -> Path:
    """Debian's browser. CI asks for it: there a missing browser fails, elsewhere it skips."""
    if not CHROMIUM.exists():
        reason = f"{CHROMIUM} is missing: apt-get install chromium"
        if os.environ.get("GROVEKEEPER_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return CHROMIUM


@pytest.fixture(scope="session")
def study(chromium: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The diabetes study, six trials long."""
    folder = tmp_path_factory.mktemp("browser")
    grovekeeper(folder, "launch", "--trials", "6")
    place = json.loads(grovekeeper(folder, "show", "diabetes", "--json"))["mlflow"]
    return Study(folder, place["experiment_id"], place["run_id"])


@pytest.fixture(scope="module")
def ui(study: Study) -> Iterator[str]:
    """The address that `grovekeeper ui` on the study's store prints."""
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


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    """Chromium. Not for the session: Playwright keeps an event loop running in this thread, and
    what other tests run in it would find a loop that is not theirs.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page of a visitor who has seen MLflow before: its assistant stays closed."""
    context = browser.new_context()
    context.set_default_timeout(PAGE_TIMEOUT)
    context.add_init_script(
        "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
    )
    yield context.new_page()
    context.close()


@pytest.fixture
def open_page(page: Page, ui: str) -> Callable[[str], Page]:
    """Open one of the MLflow UI's pages by what follows `#` in its address."""

    def go(route: str) -> Page:
        page.goto(f"{ui}/#{route}")
        return page

    return go

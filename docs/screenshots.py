"""Draws the images in docs/images from real studies: MLflow UI, terminal and report.

Needs the package with its `test` extra and Debian's Chromium: python docs/screenshots.py
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
from playwright.sync_api import Locator, Page, expect, sync_playwright
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from search.monitoring.panel import panel
from search.monitoring.poller import StudyPoller
from search.monitoring.status import SearchStatus
from storage.errors import NotFoundError
from storage.studies.study import StudyBook

IMAGES = Path(__file__).parent / "images"
COMMAND = str(Path(sys.executable).with_name("grovekeeper"))
CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TIMEOUT = 120.0
# Number of finished trials, of 60, at which the panel is drawn.
MIDST = 25


def main() -> None:
    """Launch a study, open its view, and take screenshots."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("launching 50 trials")
        grovekeeper(folder, "launch", "--trials", "50")
        with ui(folder, "diabetes") as pages, browser_page() as page:
            open_view(page, pages["trials"])
            expect(page.get_by_text("COMPLETE").first).to_be_visible()
            page.screenshot(path=IMAGES / "study.png", animations="disabled")
            open_view(page, pages["charts"])
            expect(page.get_by_text("Parallel Coordinates")).to_be_visible()
            expect(page.get_by_text("(rmse)").first).to_be_visible()
            page.screenshot(path=IMAGES / "charts.png", animations="disabled")
            report = folder / "report.html"
            grovekeeper(folder, "report", "diabetes", "-o", str(report))
            page.goto(report.as_uri())
            expect(page.locator("#errors svg").first).to_be_attached()
            page.screenshot(path=IMAGES / "report.png", animations="disabled")
        panel_of_a_running_study(folder)
    print(*sorted(IMAGES.iterdir()))


def grovekeeper(folder: Path, *arguments: str) -> None:
    """Run the command in a folder."""
    subprocess.run([COMMAND, *arguments], cwd=folder, check=True)  # noqa: S603 the command is ours


def panel_of_a_running_study(folder: Path) -> None:
    """Launch a study whose trials take seconds; draw the panel of `watch` while it runs."""
    random = np.random.default_rng(0)
    houses = pd.DataFrame(random.normal(size=(20_000, 8)), columns=list("abcdefgh"))
    houses["price"] = houses["a"] + np.sin(3 * houses["b"]) + random.normal(size=len(houses))
    houses.to_csv(folder / "houses.csv", index=False)
    launch = subprocess.Popen(  # noqa: S603 the command is ours
        [COMMAND, "--quiet", "launch", "--data", "houses.csv", "--trials", "60"], cwd=folder
    )
    try:
        while launch.poll() is None and not (folder / "optuna.db").exists():
            time.sleep(1)
        poller = None
        while launch.poll() is None:
            time.sleep(0.5)
            with suppress(NotFoundError):
                poller = poller or StudyPoller(
                    StudyBook(f"sqlite:///{folder}/optuna.db").open("houses")
                )
                poller.poll()
                now = poller.status
                if now.statistics.finished >= MIDST and len(now.running) >= 2:  # noqa: PLR2004
                    draw(now)
                    return
        sys.exit("the study ended before its panel was drawn")
    finally:
        launch.send_signal(signal.SIGINT)
        launch.wait()


def draw(status: SearchStatus) -> None:
    """Draw the panel as SVG, with fonts that every system has."""
    console = Console(width=80, record=True, file=StringIO(), force_terminal=True)
    console.print(panel(status))
    plain = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    svg = console.export_svg(title="grovekeeper watch houses", code_format=plain)
    (IMAGES / "panel.svg").write_text(svg, encoding="utf-8")


@contextmanager
def ui(folder: Path, study: str) -> Iterator[dict[str, str]]:
    """Run `grovekeeper ui`; yield the addresses that it prints for a study, by name."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(  # noqa: S603 the command is ours
        [COMMAND, "ui", "--study", study, "--port", str(port)],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        # The command fails if its server does not start, which ends this wait.
        said = [server.stdout.readline() for _ in range(3)] if server.stdout else []
        pages = dict(re.findall(r"(trials|charts): (http://\S+)", "".join(said)))
        if len(pages) != 2:  # noqa: PLR2004 the table and the charts
            sys.exit(f"`grovekeeper ui` printed no addresses: {said!r}")
        yield pages
    finally:
        server.terminate()
        try:
            server.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            # MLflow's server has child processes, so the whole session is killed.
            os.killpg(server.pid, signal.SIGKILL)
            server.communicate()


@contextmanager
def browser_page() -> Iterator[Page]:
    """Open an empty page. MLflow treats it as a repeated visit and keeps its assistant closed."""
    expect.set_options(timeout=TIMEOUT * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 800})
        page.set_default_timeout(TIMEOUT * 1000)
        page.add_init_script(
            "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
        )
        yield page
        browser.close()


def open_view(page: Page, address: str) -> None:
    """Open a study's view and hide the banner."""
    page.goto("about:blank")
    page.goto(address)
    expect(page.get_by_text("50 matching runs")).to_be_visible()
    banner = page.get_by_role("alert").filter(has_text="shared view")
    press(banner.get_by_role("button", name="Hide banner"))
    expect(banner).to_be_hidden()


def press(button: Locator) -> None:
    """Click a button without the mouse, which would leave highlights in the screenshot."""
    button.dispatch_event("click")


if __name__ == "__main__":
    main()

"""Makes the pictures in docs/images: a real study of 50 trials, seen in the MLflow UI.

Needs the package with its `test` extra and Debian's Chromium: python docs/screenshots.py
"""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from mlflow import MlflowClient
from playwright.sync_api import Locator, Page, expect, sync_playwright

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
VIEW = "Trials"
NAME_COLUMN = "attributes.`Run Name`"
WIDTHS = {
    NAME_COLUMN: 170,
    "runDateAndNestInfo": 145,
    "metrics.`rmse`": 105,
    "metrics.`holdout_rmse`": 120,
    "params.`n_estimators`": 115,
    "params.`max_features`": 115,
    "params.`min_samples_leaf`": 140,
    "params.`splitter`": 100,
    "params.`max_samples`": 115,
    "duration": 80,
}


def main() -> None:
    """Launch a study, show it, take its picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("launching 50 trials")
        run(folder, "launch", "--trials", "50")
        place = json.loads(run(folder, "show", "diabetes", "--json"))["mlflow"]
        save_view(f"sqlite:///{folder}/mlflow.db", place["experiment_id"])
        with ui(folder) as address, browser_page() as page:
            open_view(page, address, place["experiment_id"])
            unfold(page, "diabetes")
            page.screenshot(path=IMAGES / "study.png", animations="disabled")
    print(IMAGES / "study.png")


def run(folder: Path, *arguments: str) -> str:
    """Run grovekeeper in `folder` and return what it prints."""
    done = subprocess.run(  # noqa: S603 the command is ours
        [COMMAND, *arguments], cwd=folder, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def save_view(tracking_uri: str, experiment_id: str) -> None:
    """Keep the picture's columns with the experiment, as the UI's own "Views" does."""
    state: dict[str, Any] = {
        "selectedColumns": list(WIDTHS),
        # The UI gives a width only to the columns whose order is said.
        "columnOrder": list(WIDTHS),
        "columnWidths": WIDTHS,
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "searchFilter": "",
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    now = int(time.time() * 1000)
    view = {"name": VIEW, "createdAt": now, "updatedAt": now, "state": f"deflate;{packed}"}
    client = MlflowClient(tracking_uri)
    client.set_experiment_tag(experiment_id, f"mlflow.sharedViewState.{VIEW}", json.dumps(view))


@contextmanager
def ui(folder: Path) -> Iterator[str]:
    """Run `grovekeeper ui` and give the address that it prints."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(  # noqa: S603 the command is ours
        [COMMAND, "ui", "--port", str(port)],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        # The command itself gives up on a server that does not start, and so ends this wait.
        said = server.stdout.readline() if server.stdout else ""
        found = re.search(r"http://\S+", said)
        if found is None:
            sys.exit(f"`grovekeeper ui` printed no address: {said!r}")
        yield found[0]
    finally:
        server.terminate()
        try:
            server.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            # The whole session: MLflow's server has processes of its own.
            os.killpg(server.pid, signal.SIGKILL)
            server.communicate()


@contextmanager
def browser_page() -> Iterator[Page]:
    """Open an empty page of a visitor who has seen MLflow before: its assistant stays closed."""
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


def open_view(page: Page, address: str, experiment_id: str) -> None:
    """Open the experiment's runs with the picture's columns."""
    query = urlencode({"workflowType": "machine_learning", "viewStateShareKey": VIEW})
    page.goto(f"{address}/#/experiments/{experiment_id}/runs?{query}")
    expect(page.get_by_text("51 matching runs")).to_be_visible()
    press(page.get_by_role("button", name="Toggle sidebar"))
    banner = page.get_by_role("alert").filter(has_text="shared view")
    press(banner.get_by_role("button", name="Hide banner"))
    expect(banner).to_be_hidden()


def unfold(page: Page, study: str) -> None:
    """Show the trials' runs under the study's."""
    name = page.get_by_role("link", name=study, exact=True)
    cell = page.locator(f"[col-id='{NAME_COLUMN}']").filter(has=name)
    press(cell.get_by_role("button"))
    expect(page.get_by_role("link", name="trial-0049", exact=True)).to_be_visible()


def press(button: Locator) -> None:
    """Press a button without the mouse, which would leave frames and highlights in the picture."""
    button.dispatch_event("click")


if __name__ == "__main__":
    main()

"""Optuna Dashboard opens our studies with the command that docs/how-to/watching.md shows."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import start, stop
from playwright.sync_api import Page, expect
from processes import CLIENT_FOLDER, free_port, wait_until_up

COMMAND = str(CLIENT_FOLDER / "optuna-dashboard")


@pytest.fixture
def dashboard(study: Any, tmp_path: Path) -> Iterator[str]:
    port, said = free_port(), tmp_path / "dashboard.log"
    database = ("sqlite:///optuna.db", "--port", str(port))
    server = start(study.folder, said, COMMAND, *database)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_up(address, server, said)
        yield address
    finally:
        # On SIGTERM, Gunicorn would wait half a minute for the connections that the browser keeps.
        server.send_signal(signal.SIGINT)
        stop(server)


@pytest.mark.slow
def test_the_dashboard_shows_the_study_its_metric_and_best_trial(
    study: Any, dashboard: str, page: Page
) -> None:
    page.goto(dashboard)
    page.get_by_text("diabetes").first.click()
    expect(page.get_by_text("rmse").first).to_be_visible()
    expect(page.get_by_text("Best Trial")).to_be_visible()

"""The link that `launch` prints shows a running study in the MLflow UI."""

import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import COMMAND, start, stop
from dask_servers import DaskServers
from playwright.sync_api import Page, expect

PATIENCE = 120.0
COMPLETE = 3


@pytest.fixture
def link(study: Any, ui: str, tmp_path: Path) -> Iterator[str]:
    """The link that `launch` prints for a study that has finished trials and goes on.

    The study stores its runs on a real server. Its worker is suspended, because trees would take
    CPU time from the browser.
    """
    random = np.random.default_rng(0)
    houses = pd.DataFrame(random.normal(size=(2_000, 8)), columns=list("abcdefgh"))
    houses["price"] = houses["a"] + np.sin(3 * houses["b"]) + random.normal(size=len(houses))
    houses.to_csv(tmp_path / "houses.csv", index=False)
    servers = DaskServers(tmp_path)
    worker = servers.add_worker()
    said = tmp_path / "launch.log"
    options = ("launch", "--data", "houses.csv", "--scheduler", servers.address)
    launch = start(tmp_path, said, COMMAND, "--tracking-uri", ui, *options)
    try:
        deadline = time.monotonic() + PATIENCE
        while complete_trials(tmp_path / "optuna.db") < COMPLETE:
            assert launch.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.1)
        worker.send_signal(signal.SIGSTOP)
        found = re.search(r"watch it: (http\S+)", said.read_text())
        assert found is not None, said.read_text()
        yield found[1]
        assert launch.poll() is None, said.read_text()  # the study ran during the whole test
    finally:
        worker.send_signal(signal.SIGCONT)
        launch.send_signal(signal.SIGINT)
        stop(launch)
        servers.stop()


def complete_trials(database: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            counted = "select count(*) from trials where state = 'COMPLETE'"
            return int(connection.execute(counted).fetchone()[0])
    except sqlite3.OperationalError:  # the database or its tables have not been made yet
        return 0


@pytest.mark.slow
def test_trials_and_their_curves_are_shown_while_the_study_runs(link: str, page: Page) -> None:
    page.goto(link)
    states = page.locator("[col-id='tags.`optuna.trial.state`'][role='gridcell']")
    expect(states.filter(has_text="RUNNING").first).to_be_visible()
    expect(states.filter(has_text="COMPLETE").nth(COMPLETE - 1)).to_be_visible()
    # The elements of the grid are not in the order of its rows.
    row = "+cell.closest('[row-index]').getAttribute('row-index')"
    shown = page.locator("[col-id='metrics.`rmse`'][role='gridcell']").evaluate_all(
        f"cells => cells.map(cell => [{row}, cell.innerText])"
    )
    texts = [text for _, text in sorted(shown)]
    scores = [float(text.removesuffix("...")) for text in texts if text.strip("- \n")]
    assert len(scores) >= COMPLETE
    assert scores == sorted(scores)

    page.goto("about:blank")
    page.goto(f"{link}&compareRunsMode=CHART")
    for name in ("trial-0000", "trial-0001", "trial-0002"):
        expect(page.get_by_text(f"{name} (rmse)")).to_be_attached()

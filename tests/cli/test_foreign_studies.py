"""Optuna studies of other tools in the same database: they are shown and break no command."""

import csv
import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from conftest import Shell
from mlflow import MlflowClient
from mlflow_stores import copy_database
from shared import made_once

from search.cli.output import print_json
from storage import MLflowMirror


@pytest.fixture
def foreign(shell: Shell) -> Shell:
    """A folder with two studies of other tools. One trial has an infinite value."""
    copy_database(made_once("foreign", make_studies) / "optuna.db", shell.folder / "optuna.db")
    return shell


def make_studies(folder: Path) -> None:
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder}/optuna.db")
    for name in ("my study", "other"):
        study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
        for place, value in enumerate((1.0, float("inf"), 2.0)):
            trial = study.ask({"depth": optuna.distributions.CategoricalDistribution([None, 4])})
            for key, odd in (("blocks", [1, 2]), ("spans", 3), ("n_estimators", "many")):
                trial.set_user_attr(key, odd)
            trial.report(value, place)
            study.tell(trial, value)
        study.ask()
    storage.remove_session()
    storage.engine.dispose()


def parse_json(text: str) -> Any:
    """Parse JSON, and refuse Infinity and NaN, which the standard lacks."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_they_are_listed_and_shown_without_missing_facts(foreign: Shell) -> None:
    for command in (["studies"], ["show", "my study"], ["watch", "my study"]):
        done = foreign(*command)
        assert "None" not in done.stdout
        assert done.stderr == ""
    shown = foreign("show", "my study").stdout
    assert "not made by Grovekeeper" in shown
    assert "MLflow" not in shown
    assert "grovekeeper ui" not in foreign("watch", "my study").stdout
    assert "not made by Grovekeeper" in foreign("studies").stdout
    assert (
        "cannot be compared: they differ in data" in foreign("compare", "my study", "other").stdout
    )


def test_infinity_is_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"scores": [math.inf, 1.0]})
    assert parse_json(capsys.readouterr().out) == {"scores": [None, 1.0]}


def test_an_infinite_value_is_not_the_best(foreign: Shell) -> None:
    summaries = parse_json(foreign("studies", "--json").stdout)
    assert [summary["best"]["value"] for summary in summaries] == [2.0, 2.0]
    assert parse_json(foreign("show", "my study", "--json").stdout)["metric"] == "value"


def test_in_csv_none_is_a_value_and_a_missing_parameter_is_empty(foreign: Shell) -> None:
    rows = list(csv.DictReader(io.StringIO(foreign("show", "my study", "--csv").stdout)))
    assert [row["state"] for row in rows] == ["complete"] * 3 + ["running"]
    assert {row["depth"] for row in rows[:3]} <= {"none", "4"}
    assert rows[3]["depth"] == ""
    assert {row["trees"] for row in rows} == {""}  # the steps of other tools need not be trees


def test_report_writes_a_page_on_them(foreign: Shell) -> None:
    assert foreign("report", "my study").stdout == "my-study.html\n"
    html = (foreign.folder / "my-study.html").read_text(encoding="utf-8")
    assert "This study was not made by Grovekeeper." in html


def test_sync_mirrors_them_if_they_are_named(foreign: Shell) -> None:
    printed = foreign("sync").stderr
    assert printed.count("skipped unless it is named") == 2
    assert foreign.json("sync", "my study") == [
        {"study": "my study", "runs": 4, "changed": 4, "deleted": 0}
    ]
    client = MlflowClient(foreign.tracking_uri)
    found = client.get_experiment_by_name("my study")
    assert found is not None
    runs = client.search_runs([found.experiment_id], "tags.`grovekeeper.kind` = 'trial'")
    runs.sort(key=lambda run: str(run.info.run_name))
    assert [run.info.status for run in runs] == ["FINISHED"] * 3 + ["RUNNING"]
    assert [run.data.metrics["value"] for run in runs[:3]] == [1.0, sys.float_info.max, 2.0]
    assert runs[0].data.tags["n_estimators"] == "many"
    assert foreign.json("sync", "my study")[0]["changed"] == 0


def test_sync_completes_the_runs_of_a_callback(
    foreign: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(foreign.folder)
    study = optuna.load_study(study_name="other", storage=foreign.storage)
    with MLflowMirror(foreign.tracking_uri, experiment="shared") as mirror:
        mirror(study, study.trials[0])
    study.tell(3, 0.5)
    (done,) = foreign.json("sync", "other")
    assert (done["runs"], done["changed"]) == (4, 1)
    client = MlflowClient(foreign.tracking_uri)
    assert client.get_experiment_by_name("other") is None
    (run,) = client.search_runs(["1"], "tags.`grovekeeper.kind` = 'study'")
    assert (run.info.status, run.data.metrics["best_value"]) == ("FINISHED", 2.0)


@pytest.mark.slow
def test_ui_prints_the_pages_of_a_mirrored_one(foreign: Shell, mlflow_server: str) -> None:
    there = ("--tracking-uri", mlflow_server)
    foreign(*there, "ui", "--study", "my study", expect=1)
    foreign(*there, "sync", "my study")
    shown = foreign(*there, "ui", "--study", "my study").stdout
    assert f"trials: {mlflow_server}/#/experiments/" in shown

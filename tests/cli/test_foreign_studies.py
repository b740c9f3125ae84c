"""Studies that others made with Optuna, in the same database: shown, and no stumbling block."""

import csv
import io
import json
import math
import sys
from typing import Any

import optuna
import pytest
from conftest import Shell
from mlflow import MlflowClient

from search.cli.output import print_json
from storage import MLflowMirror


@pytest.fixture
def theirs(shell: Shell) -> Shell:
    """A folder with two studies of others, of whose trials one is infinitely good."""
    storage = optuna.storages.RDBStorage(shell.storage)
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
    return shell


def strictly(text: str) -> Any:
    """Read JSON as the standard has it."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_they_are_listed_and_shown_without_what_they_have_not(theirs: Shell) -> None:
    for command in (["studies"], ["show", "my study"], ["watch", "my study"]):
        done = theirs(*command)
        assert "None" not in done.stdout
        assert done.stderr == ""
    shown = theirs("show", "my study").stdout
    assert "made elsewhere" in shown
    assert "MLflow" not in shown
    assert "grovekeeper ui" not in theirs("watch", "my study").stdout
    assert "made elsewhere" in theirs("studies").stdout
    assert (
        "cannot be compared: they differ in data" in theirs("compare", "my study", "other").stdout
    )


def test_as_json_infinity_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"scores": [math.inf, 1.0]})
    assert strictly(capsys.readouterr().out) == {"scores": [None, 1.0]}


def test_what_is_infinite_is_not_the_best(theirs: Shell) -> None:
    summaries = strictly(theirs("studies", "--json").stdout)
    assert [summary["best"]["value"] for summary in summaries] == [2.0, 2.0]
    assert strictly(theirs("show", "my study", "--json").stdout)["metric"] == "value"


def test_as_csv_none_is_a_value_and_missing_is_not(theirs: Shell) -> None:
    rows = list(csv.DictReader(io.StringIO(theirs("show", "my study", "--csv").stdout)))
    assert [row["state"] for row in rows] == ["complete"] * 3 + ["running"]
    assert {row["depth"] for row in rows[:3]} <= {"none", "4"}
    assert rows[3]["depth"] == ""
    assert {row["trees"] for row in rows} == {""}  # nobody knows what they reported at


def test_they_have_a_report(theirs: Shell) -> None:
    assert theirs("report", "my study").stdout == "my-study.html\n"
    html = (theirs.folder / "my-study.html").read_text(encoding="utf-8")
    assert "This study was not made by Grovekeeper." in html


def test_they_are_mirrored_where_they_are_named(theirs: Shell) -> None:
    said = theirs("sync").stderr
    assert said.count("skipped unless it is named") == 2
    assert theirs.json("sync", "my study") == [
        {"study": "my study", "runs": 4, "changed": 4, "deleted": 0}
    ]
    client = MlflowClient(theirs.tracking_uri)
    found = client.get_experiment_by_name("my study")
    assert found is not None
    runs = client.search_runs([found.experiment_id], "tags.`grovekeeper.kind` = 'trial'")
    runs.sort(key=lambda run: str(run.info.run_name))
    assert [run.info.status for run in runs] == ["FINISHED"] * 3 + ["RUNNING"]
    assert [run.data.metrics["value"] for run in runs[:3]] == [1.0, sys.float_info.max, 2.0]
    assert runs[0].data.tags["n_estimators"] == "many"
    assert theirs.json("sync", "my study")[0]["changed"] == 0


def test_what_a_callback_had_no_time_for_is_added_where_it_wrote(
    theirs: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(theirs.folder)
    study = optuna.load_study(study_name="other", storage=theirs.storage)
    with MLflowMirror(theirs.tracking_uri, experiment="shared") as mirror:
        mirror(study, study.trials[0])
    study.tell(3, 0.5)
    (done,) = theirs.json("sync", "other")
    assert (done["runs"], done["changed"]) == (4, 1)
    client = MlflowClient(theirs.tracking_uri)
    assert client.get_experiment_by_name("other") is None
    (run,) = client.search_runs(["1"], "tags.`grovekeeper.kind` = 'study'")
    assert (run.info.status, run.data.metrics["best_value"]) == ("FINISHED", 2.0)


def test_once_mirrored_they_have_pages(theirs: Shell, mlflow_server: str) -> None:
    there = ("--tracking-uri", mlflow_server)
    theirs(*there, "ui", "--study", "my study", expect=1)
    theirs(*there, "sync", "my study")
    shown = theirs(*there, "ui", "--study", "my study").stdout
    assert f"trials: {mlflow_server}/#/experiments/" in shown

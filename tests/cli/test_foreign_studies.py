"""Studies that others made with Optuna, in the same database: shown, and no stumbling block."""

import csv
import io
import json
from typing import Any

import optuna
import pytest
from conftest import Shell


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
    assert "metric" in theirs("compare", "my study", "other").stdout


def test_as_json_infinity_is_null(theirs: Shell) -> None:
    summaries = strictly(theirs("studies", "--json").stdout)
    assert [summary["best"]["value"] for summary in summaries] == [None, None]
    assert strictly(theirs("show", "my study", "--json").stdout)["metric"] == "value"


def test_as_csv_none_is_a_value_and_missing_is_not(theirs: Shell) -> None:
    rows = list(csv.DictReader(io.StringIO(theirs("show", "my study", "--csv").stdout)))
    assert [row["state"] for row in rows] == ["complete"] * 3 + ["running"]
    assert {row["depth"] for row in rows[:3]} <= {"none", "4"}
    assert rows[3]["depth"] == ""
    assert {row["trees"] for row in rows} <= {"", "0", "1", "2"}  # what they reported at


def test_they_have_a_report(theirs: Shell) -> None:
    assert theirs("report", "my study").stdout == "my-study.html\n"
    html = (theirs.folder / "my-study.html").read_text(encoding="utf-8")
    assert "This study was not made by Grovekeeper." in html

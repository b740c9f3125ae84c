"""The commands around promotion, from a champion to Staging and back."""

import json
import shutil
import sqlite3
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import mlflow
import numpy as np
import pytest
from conftest import Shell
from mlflow.exceptions import MlflowException
from processes import free_port
from sklearn.datasets import load_diabetes


@pytest.fixture(scope="module")
def promoted(launched: Shell, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A copy of the launched study's databases, in which the model is promoted."""
    shell = Shell(tmp_path_factory.mktemp("promoted"))
    for path in launched.folder.glob("*.db*"):
        shutil.copy(path, shell.folder)
    done = shell("promote", "diabetes", "--require", "rmse=80")
    assert "is now in Staging" in done.stdout
    assert "difference -" in done.stdout
    assert ", 95% interval -" in done.stdout
    assert "scikit-learn's default forest: rmse" in done.stderr
    return shell


def test_history_lists_the_moves(promoted: Shell) -> None:
    found = promoted.json("history", "diabetes")
    assert found["model"] == "diabetes"
    move = found["moves"][0]
    assert (move["action"], move["version"], move["to"]) == ("promote", 1, "Staging")
    assert move["candidate"] < move["incumbent"]
    assert move["metric"] == "rmse"
    assert move["interval"][0] < move["interval"][1] < 0
    assert found["now"]["Staging"] == {"version": 1, "alias": 1}
    text = promoted("history", "diabetes").stdout
    assert "promote  1        Staging" in text
    assert "now in Staging: version 1" in text
    again = promoted.json("promote", "diabetes")
    assert (again["version"], again["to"], again["action"]) == (1, "Staging", None)


def test_a_refusal_prints_one_line_exits_with_1_and_is_recorded(promoted: Shell) -> None:
    done = promoted("promote", "diabetes", "--to", "Production", "--require", "rmse=1", expect=1)
    assert "but must be at most 1; better than" in done.stderr
    assert "--force --reason TEXT" in done.stderr
    done = promoted("promote", "diabetes", "--to", "Production", "--force", expect=2)
    assert "--force requires --reason" in done.stderr
    done = promoted("rollback", "diabetes", expect=1)
    assert "nothing to go back to" in done.stderr
    actions = [move["action"] for move in promoted.json("history", "diabetes")["moves"]]
    assert actions == ["promote", "refuse"]


def test_a_version_and_a_trial_are_reproduced_bit_by_bit(promoted: Shell) -> None:
    assert "version 1 of diabetes is reproduced" in promoted("reproduce", "diabetes").stdout
    states = states_of(promoted)
    for state in ("COMPLETE", "PRUNED"):
        number = str(states.index(state))
        done = promoted.json("reproduce", "diabetes", "--trial", number)
        assert done["reproduced"], done
        assert done["compared"]["value"]["equal"]
        scores = done["compared"]["scores"]["recorded"]
        assert ("128" in scores) == (state == "COMPLETE")
    done = promoted("reproduce", "diabetes", "--trial", "99", expect=1)
    assert "has no trial 99" in done.stderr


def states_of(shell: Shell) -> list[str]:
    """Return the states of the trials, in the order of their numbers."""
    with closing(sqlite3.connect(shell.folder / "optuna.db")) as connection:
        return [row[0] for row in connection.execute("select state from trials order by number")]


def test_a_failed_reproduction_names_the_cause(promoted: Shell) -> None:
    path = promoted.folder / "other.csv"
    load_diabetes(as_frame=True).frame.head(300).to_csv(path, index=False)
    done = promoted("reproduce", "diabetes", "--data", str(path), expect=1)
    assert "other.csv has changed" in done.stderr


@pytest.mark.slow
def test_studies_are_compared_side_by_side(promoted: Shell) -> None:
    promoted("launch", "by-mae", "--metric", "mae", "--trials", "2", "--no-register")
    promoted("launch", "again", "--seed", "1", "--trials", "2", "--no-register")
    found = promoted.json("compare", "diabetes", "again")
    assert found["comparable"]
    assert found["mlflow"].startswith("/#/compare-runs?runs=")
    done = promoted("compare", "diabetes", "by-mae")
    assert "their scores cannot be compared: they differ in metric" in done.stdout
    assert "two or more different studies" in promoted("compare", "diabetes", expect=2).stderr


def load(flavor: Any, uri: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return flavor.load_model(uri)


def test_the_model_loads_by_stage_and_alias_and_refuses_a_wrong_column(
    promoted: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(promoted.folder)
    mlflow.set_tracking_uri(promoted.tracking_uri)
    rows = load_diabetes(as_frame=True).data.head(20)
    forest = load(mlflow.sklearn, "models:/diabetes@staging").predict(rows)
    served = load(mlflow.pyfunc, "models:/diabetes/Staging")
    np.testing.assert_array_equal(served.predict(rows), forest)
    with pytest.raises(MlflowException, match="bmi"):
        served.predict(rows.rename(columns={"bmi": "weight"}))


@pytest.fixture
def served(promoted: Shell, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of MLflow's scoring server with the model, in a thread of this process.

    docs/how-to/serving.md starts the server with `mlflow models serve`, which imports everything
    again.
    """
    import uvicorn
    from mlflow.pyfunc import scoring_server

    monkeypatch.chdir(promoted.folder)
    mlflow.set_tracking_uri(promoted.tracking_uri)
    app = scoring_server.init(load(mlflow.pyfunc, "models:/diabetes@staging"))
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def test_mlflow_serves_the_model_on_raw_rows(served: str) -> None:
    rows = load_diabetes(as_frame=True).data.head(3)

    def ask(content: Any) -> Any:
        request = urllib.request.Request(  # noqa: S310 own server
            f"{served}/invocations",
            data=json.dumps(content).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 own server
            return json.loads(answer.read())

    records = json.loads(rows.to_json(orient="records"))
    predictions = ask({"dataframe_records": records})["predictions"]
    assert len(predictions) == 3
    assert np.std(predictions) > 1
    records[0]["bmi"] = None  # missing values are allowed, as in training
    assert ask({"dataframe_records": records})["predictions"][1:] == predictions[1:]
    del records[0]["bmi"]
    with pytest.raises(urllib.error.HTTPError) as error:
        ask({"dataframe_records": records[:1]})
    with error.value:
        assert error.value.code == 400
        assert "bmi" in error.value.read().decode()

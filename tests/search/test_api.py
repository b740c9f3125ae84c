"""The Python interface: in a script without a main guard, in a notebook, and its result."""

import json
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import mlflow
import nbclient
import nbformat
import optuna
import pytest
from mlflow_stores import make_tables
from processes import environment, run_program
from rich.console import Console
from settled import summary_of

import search
from search import Result
from search.errors import StudyError, UsageError

# A script as users write it, without `if __name__ == "__main__"`.
SCRIPT = """
import json, os
from sklearn.datasets import load_wine
from search import StudySpec, launch

print("once")
wine = load_wine(as_frame=True).frame
result = launch(StudySpec(data=wine, target="target", study="wine", model="wine", trials=4))
os.chdir("zoë (1) & co")
launch(StudySpec(trials=1, register=False, study="another", workers=1))
frame = result.to_frame()
print(json.dumps({
    "summary": result.summary,
    "params": result.best_params,
    "value": result.best_value,
    "holdout": result.holdout,
    "uri": result.model_uri,
    "study": result.study.best_value,
    "rows": len(frame),
    "columns": list(frame.columns),
    "best": frame["brier"].loc[result.summary["best"]["number"]],
    "html": result._repr_html_(),
    "main": __file__,
}))
"""
NOTEBOOK = """
from search import StudySpec, launch
result = launch(StudySpec(trials=2, register=False))
result
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("interface")


@pytest.fixture(scope="module")
def printed(folder: Path) -> Any:
    # Otherwise both launches create a store, which takes seconds.
    elsewhere = folder / "zoë (1) & co"
    elsewhere.mkdir()
    for place in (folder, elsewhere):
        make_tables(place / "mlflow.db")
    (folder / "script.py").write_text(SCRIPT)
    done = run_program([sys.executable, "script.py"], folder)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "4/4 trials" in done.stderr
    assert "1/1 trials" in done.stderr
    once, line = done.stdout.splitlines()
    assert once == "once"  # no worker ran the script
    return json.loads(line)


@pytest.mark.slow
def test_a_script_without_a_main_guard_gets_the_result(printed: Any, folder: Path) -> None:
    summary = printed["summary"]
    assert (summary["study"], summary["state"]) == ("wine", "finished")
    assert printed["params"] == summary["best"]["params"]
    assert printed["value"] == summary["best"]["value"] == printed["study"] == printed["best"]
    assert printed["holdout"]["brier"] == summary["holdout"]["brier"]
    assert printed["uri"] == "models:/wine/1"
    assert printed["rows"] == 4
    assert printed["columns"][:4] == ["brier", "state", "trees", "seconds"]
    assert "<th" in printed["html"]
    assert printed["main"] == "script.py" or printed["main"].endswith("/script.py")


@pytest.mark.slow
def test_study_and_model_are_in_the_default_stores(printed: Any, folder: Path) -> None:
    elsewhere = mlflow.MlflowClient(f"sqlite:///{folder}/zoë (1) & co/mlflow.db")
    (another,) = elsewhere.search_experiments(filter_string="name = 'diabetes'")
    assert len(elsewhere.search_runs([another.experiment_id])) == 2
    study = optuna.load_study(study_name="wine", storage=f"sqlite:///{folder}/optuna.db")
    assert len(study.trials) == 4
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    assert client.get_model_version("wine", "1").run_id == printed["summary"]["mlflow"]["run_id"]
    study._storage.remove_session()


@pytest.mark.slow
def test_it_works_in_a_notebook_with_a_running_event_loop(folder: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(NOTEBOOK)])
    kernel = {"cwd": str(folder), "env": environment()}
    client = nbclient.NotebookClient(
        notebook, timeout=180, resources={"metadata": {"path": folder}}
    )
    client.execute(**kernel)
    outputs = notebook.cells[0].outputs
    (displayed,) = [o["data"] for o in outputs if o["output_type"] == "execute_result"]
    assert "<td" in displayed["text/html"]
    assert "diabetes" in displayed["text/html"]


def test_the_result_names_the_trial_of_a_champion_that_is_not_the_best() -> None:
    summary: dict[str, Any] = {
        "study": "houses",
        "state": "stopped",
        "metric": "rmse",
        "trials": {"complete": 4, "goal": 4},
        "best": {"number": 3, "value": 0.5, "params": {}},
        "champion": {"trial": 1, "trees": 100},
        "holdout": {"rmse": 0.75},
        "model": {"name": "houses", "version": 2},
    }
    html = Result(summary, None)._repr_html_()  # type: ignore[arg-type]
    assert ">rmse 0.75 (of trial 1)<" in html
    assert ">models:/houses/2 (of trial 1)<" in html


def test_the_result_is_escaped_on_a_terminal_and_in_html() -> None:
    best = {"number": 3, "value": 0.5, "params": {"<b>": 1}}
    summary: dict[str, Any] = {
        "study": "[red]<i>",
        "state": "finished",
        "metric": "rmse",
        "trials": {"complete": 4, "pruned": 0, "goal": 4},
        "best": best,
        "champion": None,
        "holdout": None,
        "model": None,
    }
    result = Result(summary, None)  # type: ignore[arg-type]
    console = Console(width=60, record=True, file=StringIO())
    console.print(result)
    assert "[red]<i>" in console.export_text()
    html = result._repr_html_()
    assert "&lt;i&gt;" in html
    assert "<i>" not in html
    assert "&lt;b&gt; 1" in html
    assert (result.holdout, result.model_uri) == ({}, None)


def test_all_public_names_exist_and_no_others() -> None:
    for name in search.__all__:
        assert getattr(search, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'lunch'"):
        _ = search.lunch


def test_one_file_for_both_stores_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for storage, tracking_uri in (
        ("sqlite:///mlflow.db", None),
        ("sqlite:///one.db", f"sqlite:///{tmp_path}/one.db"),
    ):
        with pytest.raises(UsageError, match="Optuna and MLflow need separate databases"):
            search.launch(search.StudySpec(), storage=storage, tracking_uri=tracking_uri)
    assert list(tmp_path.iterdir()) == []


def test_without_a_complete_trial_there_is_no_best() -> None:
    result = Result({"study": "s", "best": None}, None)  # type: ignore[arg-type]
    for name in ("best_params", "best_value"):
        with pytest.raises(StudyError, match="study 's' has no complete trial yet"):
            getattr(result, name)


def test_the_result_of_a_detached_launch_opens_no_local_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = summary_of("diabetes")
    monkeypatch.setattr("search.service.detached.detach", lambda *_: begun)
    monkeypatch.chdir(tmp_path)
    result = search.launch(search.StudySpec(detach=True, scheduler="tcp://host:8786"))
    assert result.summary["state"] == "running"
    assert list(tmp_path.iterdir()) == []

"""The interface for Python: in a script without a guard, in a notebook, and what it returns."""

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import mlflow
import nbclient
import nbformat
import optuna
import pytest
from processes import environment
from rich.console import Console
from settled import summary_of

import search
from search import Result
from search.errors import StudyError, UsageError

# As people write it: at the top of a file, with no `if __name__ == "__main__"`.
SCRIPT = """
import json, os
from sklearn.datasets import load_wine
from search import StudySpec, launch

print("once")
wine = load_wine(as_frame=True).frame
found = launch(StudySpec(data=wine, target="target", study="wine", model="wine", trials=6))
os.mkdir("zoë (1) & co")
os.chdir("zoë (1) & co")
launch(StudySpec(trials=1, register=False, study="another", workers=1))
frame = found.to_frame()
print(json.dumps({
    "summary": found.summary,
    "params": found.best_params,
    "value": found.best_value,
    "holdout": found.holdout,
    "uri": found.model_uri,
    "study": found.study.best_value,
    "rows": len(frame),
    "columns": list(frame.columns),
    "best": frame["brier"].loc[found.summary["best"]["number"]],
    "html": found._repr_html_(),
    "main": __file__,
}))
"""
NOTEBOOK = """
from search import StudySpec, launch
found = launch(StudySpec(trials=4, register=False))
found
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("interface")


@pytest.fixture(scope="module")
def told(folder: Path) -> Any:
    (folder / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "6/6 trials" in done.stderr
    assert "1/1 trials" in done.stderr
    once, line = done.stdout.splitlines()
    assert once == "once"  # no worker ran the script
    return json.loads(line)


def test_a_script_needs_no_guard_and_gets_what_was_found(told: Any, folder: Path) -> None:
    summary = told["summary"]
    assert (summary["study"], summary["state"]) == ("wine", "finished")
    assert told["params"] == summary["best"]["params"]
    assert told["value"] == summary["best"]["value"] == told["study"] == told["best"]
    assert told["holdout"]["brier"] == summary["holdout"]["brier"]
    assert told["uri"] == "models:/wine/1"
    assert told["rows"] == 6
    assert told["columns"][:4] == ["brier", "state", "trees", "seconds"]
    assert "<th" in told["html"]
    assert told["main"] == "script.py" or told["main"].endswith("/script.py")


def test_study_and_model_are_where_the_command_line_has_them(told: Any, folder: Path) -> None:
    elsewhere = mlflow.MlflowClient(f"sqlite:///{folder}/zoë (1) & co/mlflow.db")
    (another,) = elsewhere.search_experiments(filter_string="name = 'diabetes'")
    assert len(elsewhere.search_runs([another.experiment_id])) == 2
    study = optuna.load_study(study_name="wine", storage=f"sqlite:///{folder}/optuna.db")
    assert len(study.trials) == 6
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    assert client.get_model_version("wine", "1").run_id == told["summary"]["mlflow"]["run_id"]
    study._storage.remove_session()


@pytest.mark.slow
def test_it_works_in_a_notebook_whose_event_loop_runs(folder: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(NOTEBOOK)])
    kernel = {"cwd": str(folder), "env": environment()}
    client = nbclient.NotebookClient(
        notebook, timeout=180, resources={"metadata": {"path": folder}}
    )
    client.execute(**kernel)
    outputs = notebook.cells[0].outputs
    (shown,) = [o["data"] for o in outputs if o["output_type"] == "execute_result"]
    assert "<td" in shown["text/html"]
    assert "diabetes" in shown["text/html"]


def test_a_hold_out_of_another_trial_than_the_best_is_said_to_be_so() -> None:
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
    rows = dict(Result(summary, None)._rows)  # type: ignore[arg-type]
    assert rows["hold-out"] == "rmse 0.75 (of trial 1)"
    assert rows["model"] == "models:/houses/2 (of trial 1)"


def test_what_was_found_is_drawn_and_escaped() -> None:
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
    found = Result(summary, None)  # type: ignore[arg-type]
    console = Console(width=60, record=True, file=StringIO())
    console.print(found)
    assert "[red]<i>" in console.export_text()
    html = found._repr_html_()
    assert "&lt;i&gt;" in html
    assert "<i>" not in html
    assert "&lt;b&gt; 1" in html
    assert (found.holdout, found.model_uri) == ({}, None)


def test_what_the_package_offers_is_there_and_nothing_else() -> None:
    for name in search.__all__:
        assert getattr(search, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'lunch'"):
        _ = search.lunch


def test_one_file_for_both_stores_is_refused_however_it_is_written(
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


def test_before_a_trial_is_complete_there_is_no_best() -> None:
    found = Result({"study": "s", "best": None}, None)  # type: ignore[arg-type]
    for name in ("best_params", "best_value"):
        with pytest.raises(StudyError, match="study 's' has no complete trial yet"):
            getattr(found, name)


def test_a_detached_study_is_not_looked_for_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = summary_of("diabetes")
    monkeypatch.setattr("search.service.detached.detach", lambda *_: begun)
    monkeypatch.chdir(tmp_path)
    found = search.launch(search.StudySpec(detach=True, scheduler="tcp://host:8786"))
    assert found.summary["state"] == "running"
    assert list(tmp_path.iterdir()) == []

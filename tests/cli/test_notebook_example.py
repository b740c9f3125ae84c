"""The notebook example in docs/how-to/watching.md runs as written."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import Shell
from processes import PYTHON, run_program

PAGE = Path(__file__).parents[2] / "docs/how-to/watching.md"
PRINTED = """
import json
print(json.dumps({
    "best": study.best_trial.number,
    "metric": study.metric_names,
    "trials": len(trials),
    "importances": len(importance),
    "runs": list(runs["tags.mlflow.runName"]),
    "scores": list(runs["metrics.rmse"].dropna()),
}))
"""


def block(words: str) -> str:
    """Return the Python block of the page that contains these words."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (code,) = [block for block in blocks if words in block]
    return str(code)


def python(folder: Path, code: str) -> Any:
    """Run code as a script in a folder and return the JSON that it prints."""
    done = run_program([PYTHON, "-c", code], folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_notebook_opens_study_and_runs(launched: Shell) -> None:
    printed = python(launched.folder, block("optuna.load_study") + PRINTED)
    assert printed["best"] == launched.json("show", "diabetes")["best"]["number"]
    assert printed["metric"] == ["rmse"]
    assert printed["trials"] == 10
    assert printed["importances"] >= 3
    assert sorted(printed["runs"]) == [f"trial-{number:04d}" for number in range(10)]
    assert printed["scores"] == sorted(printed["scores"])

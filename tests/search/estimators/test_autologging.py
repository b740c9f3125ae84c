"""Models that are fitted while the user's autologging is on."""

from pathlib import Path

import pytest
from processes import PYTHON, run_program

SCRIPT = """
import mlflow
from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestRegressor
from grovekeeper import ForestSearchRegressor, StudySpec, launch

mlflow.set_tracking_uri("sqlite:///mine.db")
mlflow.autolog(log_models=False, silent=True)
X, y = load_diabetes(return_X_y=True)
ForestSearchRegressor(trials=2, trees=10, n_jobs=1).fit(X[:100], y[:100])
spec = StudySpec(trials=1, trees=10, workers=1, study="s", register=False)
launch(spec, storage="sqlite:///optuna.db", tracking_uri="sqlite:///mlflow.db", quiet=True)
assert not mlflow.search_runs(search_all_experiments=True).shape[0]
RandomForestRegressor(n_estimators=2).fit(X, y)
assert mlflow.search_runs(search_all_experiments=True).shape[0] == 1
"""


@pytest.mark.slow
def test_nothing_is_autologged_and_autologging_is_on_afterwards(tmp_path: Path) -> None:
    done = run_program([PYTHON, "-c", SCRIPT], tmp_path)
    assert done.returncode == 0, done.stderr

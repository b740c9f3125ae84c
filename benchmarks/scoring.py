"""Score configurations of all peers: refit with 500 trees and predict the test rows."""

import json
import time
from collections.abc import Mapping
from typing import Any

from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.metrics import brier_score_loss, root_mean_squared_error
from tables import Split, Task

TREES = 500
FINAL_SEEDS = (0, 1, 2)
METRICS: dict[Task, str] = {"regression": "rmse", "classification": "brier"}
_KINDS = {
    ("regression", "best"): RandomForestRegressor,
    ("regression", "random"): ExtraTreesRegressor,
    ("classification", "best"): RandomForestClassifier,
    ("classification", "random"): ExtraTreesClassifier,
}


def make_forest(params: Mapping[str, Any], task: Task, seed: int, jobs: int) -> Any:
    """Return an unfitted forest of 500 trees; the number of trees in `params` is ignored.

    ``splitter="random"`` means extremely randomised trees, also grown on bootstrap samples.
    """
    own = dict(params)
    own.pop("n_estimators", None)
    kind = _KINDS[task, own.pop("splitter", "best")]
    return kind(n_estimators=TREES, bootstrap=True, random_state=seed, n_jobs=jobs, **own)


class Judge:
    """Scores configurations on one split, each configuration once."""

    def __init__(self, split: Split, cores: int) -> None:
        self._split = split
        self._cores = cores
        self._scores: dict[tuple[str, int], float] = {}

    def held_out(self, params: Mapping[str, Any], seed: int = FINAL_SEEDS[0]) -> float:
        """Loss on the test rows: root mean squared error or Brier score."""
        key = json.dumps(dict(params), sort_keys=True), seed
        if key not in self._scores:
            self._scores[key] = self._score(params, seed)
        return self._scores[key]

    def refit_cpu(self, params: Mapping[str, Any]) -> float:
        """CPU seconds of one fit of 500 trees on one thread."""
        forest = make_forest(params, self._split.table.task, FINAL_SEEDS[0], 1)
        before = time.process_time()
        forest.fit(self._split.X_train, self._split.y_train)
        return time.process_time() - before

    def _score(self, params: Mapping[str, Any], seed: int) -> float:
        split = self._split
        forest = make_forest(params, split.table.task, seed, self._cores)
        forest.fit(split.X_train, split.y_train)
        if split.table.task == "regression":
            return float(root_mean_squared_error(split.y_test, forest.predict(split.X_test)))
        probabilities = forest.predict_proba(split.X_test)
        return float(brier_score_loss(split.y_test, probabilities, labels=forest.classes_))

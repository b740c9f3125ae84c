"""The other searches of large.py, each a separate program with a budget in seconds.

A peer reads train.parquet, searches, refits its best forest, predicts the rows of test.parquet, and
writes predictions.npy. FLAML has its own environment, so only pandas and scikit-learn are imported
for all peers.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import brier_score_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from traces import BEGAN

FOLDS = 5
FEWEST, MOST = 50, 500  # trees
CANDIDATES = 50
SEED = 0


@dataclass(frozen=True)
class Problem:
    """Training rows and the budget; `seconds` counts from the start of the process."""

    X: pd.DataFrame
    y: NDArray[Any]
    task: str
    cores: int
    seconds: float

    @property
    def scoring(self) -> str:
        """The scoring name in scikit-learn: root mean squared error or Brier score."""
        if self.task == "regression":
            return "neg_root_mean_squared_error"
        return "neg_brier_score"

    def forest(self, **params: Any) -> Any:
        """Return a forest on ordinal codes of the texts and the numbers as they are."""
        kind = RandomForestRegressor if self.task == "regression" else RandomForestClassifier
        codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        texts = make_column_selector(dtype_exclude="number")
        encoder = make_column_transformer((codes, texts), remainder="passthrough")
        return make_pipeline(encoder, kind(random_state=SEED, **params))

    def left(self) -> float:
        """Seconds left of the budget."""
        return self.seconds - (time.time() - float(os.environ[BEGAN]))


def recipe(problem: Problem) -> Any:
    """Run the usual recipe, Optuna with cross-validation, until 80% of the budget is spent.

    A trial that has begun is not interrupted. The rest of the budget is for the refit.
    """
    import mlflow
    import optuna
    from sklearn.model_selection import cross_validate

    def objective(trial: optuna.Trial) -> float:
        params = {
            "n_estimators": trial.suggest_int("n_estimators", FEWEST, MOST),
            "max_depth": trial.suggest_int("max_depth", 2, 32),
            "min_samples_split": trial.suggest_int("min_samples_split", 2, 20),
            "min_samples_leaf": trial.suggest_int("min_samples_leaf", 1, 20),
            "max_features": trial.suggest_float("max_features", 0.1, 1.0),
        }
        with mlflow.start_run(nested=True, run_name=f"trial-{trial.number}"):
            mlflow.log_params(params)
            folds = cross_validate(
                problem.forest(**params), problem.X, problem.y,
                cv=FOLDS, scoring=problem.scoring, n_jobs=problem.cores,
            )  # fmt: skip
            loss = float(-folds["test_score"].mean())
            mlflow.log_metric("loss", loss)
        return loss

    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.set_experiment("recipe")
    with mlflow.start_run(run_name="study"):
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=SEED))
        study.optimize(objective, timeout=max(problem.left() - 0.2 * problem.seconds, 1.0))
    return problem.forest(**study.best_params, n_jobs=problem.cores).fit(problem.X, problem.y)


def halving_search(problem: Problem) -> Any:
    """Run HalvingRandomSearchCV with rows as the resource; it has no time limit."""
    from scipy.stats import randint, uniform
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingRandomSearchCV

    model = problem.forest(n_estimators=100)
    own = model.steps[-1][0]
    search = HalvingRandomSearchCV(
        model,
        {
            f"{own}__max_depth": randint(2, 33),
            f"{own}__min_samples_split": randint(2, 21),
            f"{own}__min_samples_leaf": randint(1, 21),
            f"{own}__max_features": uniform(0.1, 0.9),
        },
        n_candidates=CANDIDATES,
        min_resources="exhaust",
        cv=FOLDS,
        scoring=problem.scoring,
        n_jobs=problem.cores,
        random_state=SEED,
    )
    return search.fit(problem.X, problem.y)


def flaml(problem: Problem) -> Any:
    """Run FLAML on random forests only, within its time budget."""
    from flaml import AutoML

    def brier(X: Any, y: Any, estimator: Any, *_rest: Any) -> tuple[float, dict[str, Any]]:
        return brier_score_loss(y, estimator.predict_proba(X)[:, 1]), {}

    automl = AutoML()
    automl.fit(
        problem.X,
        problem.y,
        task=problem.task,
        metric="rmse" if problem.task == "regression" else brier,
        estimator_list=["rf"],
        time_budget=problem.left(),
        n_jobs=problem.cores,
        seed=SEED,
        verbose=0,
    )
    return automl


PEERS: dict[str, Callable[[Problem], Any]] = {
    "flaml": flaml,
    "halving": halving_search,
    "recipe": recipe,
}


def main() -> None:
    """Run one peer in the current folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--target", required=True)
    parser.add_argument("--task", required=True, choices=["regression", "classification"])
    parser.add_argument("--cores", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    train = pd.read_parquet("train.parquet")
    y = train.pop(arguments.target).to_numpy()
    if arguments.task == "classification":
        y = (y == max(y)).astype(int)
    problem = Problem(train, y, arguments.task, arguments.cores, arguments.seconds)
    model = PEERS[arguments.peer](problem)
    Path("fitted").write_text(repr(time.time() - float(os.environ[BEGAN])))
    test = pd.read_parquet("test.parquet").drop(columns=arguments.target)
    if arguments.task == "regression":
        np.save("predictions.npy", model.predict(test))
    else:
        np.save("predictions.npy", model.predict_proba(test)[:, 1])


if __name__ == "__main__":
    main()

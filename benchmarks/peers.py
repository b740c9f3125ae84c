"""The other searches. compare.py runs each as a separate program.

Each peer searches on the training rows, refits its best forest, and writes its trace. FLAML has its
own environment, so only numpy and scikit-learn are imported for all peers.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import brier_score_loss
from traces import BEGAN, Trace, Trial, unix_time

FOLDS = 5
FEWEST, MOST = 50, 500  # trees
SEED = 0
_PACKAGES = ("scikit-learn", "optuna", "optuna-integration", "mlflow", "flaml")


@dataclass(frozen=True)
class Problem:
    """The inputs of a peer.

    Attributes
    ----------
    trials
        For peers with a number of trials.
    seconds
        For peers with a time budget.
    """

    X: NDArray[Any]
    y: NDArray[Any]
    task: str
    trials: int
    cores: int
    seconds: float

    @property
    def forest(self) -> Any:
        """The class of scikit-learn's forest for the task."""
        return RandomForestRegressor if self.task == "regression" else RandomForestClassifier

    def make(self, **params: Any) -> Any:
        """Return an unfitted forest."""
        return self.forest(**params, random_state=SEED)

    @property
    def scoring(self) -> str:
        """The scoring name in scikit-learn: root mean squared error or Brier score."""
        if self.task == "regression":
            return "neg_root_mean_squared_error"
        return "neg_brier_score"


def seconds_since_start() -> float:
    """Seconds since the start of this process."""
    return time.time() - float(os.environ[BEGAN])


def optimize(problem: Problem, **limits: Any) -> tuple[Any, list[Trial], float]:
    """Run the search of the usual recipe; `limits` are those of ``optuna.Study.optimize``.

    Returns
    -------
    the Optuna study, its trials, and the seconds until the first trial started
    """
    import mlflow
    import optuna
    from sklearn.model_selection import cross_validate

    trials = []

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
                problem.make(**params), problem.X, problem.y, cv=FOLDS, scoring=problem.scoring,
                n_jobs=-1,
            )  # fmt: skip
            loss = float(-folds["test_score"].mean())
            mlflow.log_metric("loss", loss)
        growing = float(folds["fit_time"].sum() + folds["score_time"].sum())
        trials.append(Trial(seconds_since_start(), loss, params, grow_seconds=growing))
        return loss

    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.set_experiment("recipe")
    with mlflow.start_run(run_name="study"):
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=SEED))
        start_up = seconds_since_start()
        study.optimize(objective, **limits)
    return study, trials, start_up


def recipe(problem: Problem) -> Trace:
    """Run the usual recipe: Optuna, cross-validation, one nested MLflow run per trial."""
    study, trials, start_up = optimize(problem, n_trials=problem.trials)
    problem.make(**study.best_params, n_jobs=-1).fit(problem.X, problem.y)
    return _trace(start_up, trials, study.best_params)


def random_search(problem: Problem) -> Trace:
    """Run RandomizedSearchCV over the recipe's space."""
    from scipy.stats import randint
    from sklearn.model_selection import RandomizedSearchCV

    search = RandomizedSearchCV(
        problem.forest(random_state=SEED),
        {"n_estimators": randint(FEWEST, MOST + 1), **distributions()},
        n_iter=problem.trials,
        cv=FOLDS,
        scoring=problem.scoring,
        n_jobs=problem.cores,
        random_state=SEED,
    )
    start_up = seconds_since_start()
    search.fit(problem.X, problem.y)
    results = search.cv_results_
    growing = _growing(results)
    # The search reports durations only. Trials ran in this order on all cores, so a trial ended at
    # the sum of the durations so far divided by the number of cores (overhead is left out).
    ends = start_up + np.cumsum(growing) / problem.cores
    rows = zip(ends, -results["mean_test_score"], results["params"], growing, strict=True)
    trials = [Trial(end, loss, params, 0, seconds) for end, loss, params, seconds in rows]
    return _trace(start_up, trials, search.best_params_)


def halving_search(problem: Problem) -> Trace:
    """Run HalvingRandomSearchCV over the recipe's space, with trees as the resource."""
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingRandomSearchCV

    search = HalvingRandomSearchCV(
        problem.forest(random_state=SEED),
        distributions(),
        n_candidates=problem.trials,
        resource="n_estimators",
        max_resources=MOST,
        min_resources="exhaust",
        cv=FOLDS,
        scoring=problem.scoring,
        n_jobs=problem.cores,
        random_state=SEED,
    )
    start_up = seconds_since_start()
    search.fit(problem.X, problem.y)
    results = search.cv_results_
    growing = _growing(results)
    # Times are derived as in `random_search`, but an iteration scores all candidates at its end.
    iterations = results["iter"]
    ends = [
        start_up + growing[iterations <= iteration].sum() / problem.cores
        for iteration in iterations
    ]
    rows = zip(
        ends, -results["mean_test_score"], results["params"], iterations, growing, strict=True
    )
    return _trace(start_up, [Trial(*row) for row in rows], search.best_params_)


def optuna_search(problem: Problem) -> Trace:
    """Run OptunaSearchCV over the recipe's space."""
    from optuna.distributions import FloatDistribution, IntDistribution
    from optuna_integration import OptunaSearchCV

    search = OptunaSearchCV(
        problem.forest(random_state=SEED),
        {
            "n_estimators": IntDistribution(FEWEST, MOST),
            "max_depth": IntDistribution(2, 32),
            "min_samples_split": IntDistribution(2, 20),
            "min_samples_leaf": IntDistribution(1, 20),
            "max_features": FloatDistribution(0.1, 1.0),
        },
        cv=FOLDS,
        n_trials=problem.trials,
        n_jobs=problem.cores,
        scoring=problem.scoring,
        random_state=SEED,
    )
    start_up = seconds_since_start()
    search.fit(problem.X, problem.y)
    trials = []
    for trial in search.trials_:
        times = trial.user_attrs
        growing = FOLDS * (times["mean_fit_time"] + times["mean_score_time"])
        seconds = unix_time(trial.datetime_complete) - float(os.environ[BEGAN])
        trials.append(Trial(seconds, -trial.value, trial.params, grow_seconds=growing))
    return _trace(start_up, trials, search.best_params_)


def fit_flaml(problem: Problem, seconds: float, **options: Any) -> Any:
    """Fit FLAML's `AutoML` on random forests only, within a time budget."""
    from flaml import AutoML

    def brier(
        X: Any, y: Any, estimator: Any, labels: Any, *_rest: Any
    ) -> tuple[float, dict[str, Any]]:
        return brier_score_loss(y, estimator.predict_proba(X), labels=labels), {}

    automl = AutoML()
    automl.fit(
        problem.X,
        problem.y,
        task=problem.task,
        metric="rmse" if problem.task == "regression" else brier,
        estimator_list=["rf"],
        time_budget=seconds,
        n_jobs=problem.cores,
        seed=SEED,
        verbose=0,
        **options,
    )
    return automl


def flaml(problem: Problem) -> Trace:
    """Run FLAML within its time budget."""
    log = Path("flaml.jsonl")
    start_up = seconds_since_start()
    automl = fit_flaml(problem, problem.seconds, log_file_name=str(log), log_type="all")
    records = [json.loads(line) for line in log.read_text().splitlines()]
    trials = [
        Trial(
            start_up + record["wall_clock_time"],
            record["validation_loss"],
            _scikit_learn_params(record["config"]),
            grow_seconds=record["trial_time"],
        )
        for record in records
        if "config" in record and np.isfinite(record["validation_loss"])
    ]
    return _trace(start_up, trials, _scikit_learn_params(automl.best_config))


PEERS: dict[str, Callable[[Problem], Trace]] = {
    "recipe": recipe,
    "random": random_search,
    "halving": halving_search,
    "optuna-search": optuna_search,
    "flaml": flaml,
}


def distributions() -> dict[str, Any]:
    """Return the space of the recipe without the number of trees, as scipy's distributions."""
    from scipy.stats import randint, uniform

    return {
        "max_depth": randint(2, 33),
        "min_samples_split": randint(2, 21),
        "min_samples_leaf": randint(1, 21),
        "max_features": uniform(0.1, 0.9),
    }


def _growing(results: dict[str, Any]) -> NDArray[Any]:
    """Seconds in fit and score for each row of ``cv_results_``, summed over folds."""
    return FOLDS * np.asarray(results["mean_fit_time"] + results["mean_score_time"])


def _scikit_learn_params(config: dict[str, Any]) -> dict[str, Any]:
    """Convert FLAML's configuration to the parameter names of scikit-learn."""
    params = {name: value for name, value in config.items() if name != "FLAML_sample_size"}
    params["max_leaf_nodes"] = params.pop("max_leaves")
    return params


def _trace(start_up: float, trials: list[Trial], best_params: dict[str, Any]) -> Trace:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    growing = sum(trial.grow_seconds or 0.0 for trial in trials)
    return Trace(start_up, trials, best_params, growing, versions)


def main() -> None:
    """Run one peer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--data", type=Path, required=True, help=".npz file of X and y")
    parser.add_argument("--task", required=True, choices=["regression", "classification"])
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--trace", type=Path, required=True, help="where to write the trace")
    arguments = parser.parse_args()
    data = np.load(arguments.data)
    limits = arguments.trials, arguments.cores, arguments.seconds
    problem = Problem(data["X"], data["y"], arguments.task, *limits)
    PEERS[arguments.peer](problem).write(arguments.trace)


if __name__ == "__main__":
    main()

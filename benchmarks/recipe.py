"""The published recipe against `grovekeeper launch`, whole cold commands in turn.

The recipe is what tutorials show: Optuna, 5-fold cross-validation on both cores, 50 to 500 trees,
one nested MLflow run a trial, the best model refitted, logged and registered. Run it with

    python benchmarks/recipe.py --rounds 3

It prints seconds (wall and CPU) of each round, the medians, and their ratio.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def recipe(trials: int) -> None:
    """Run the recipe in the current folder."""
    import mlflow
    import optuna
    from sklearn.datasets import load_diabetes
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.metrics import root_mean_squared_error
    from sklearn.model_selection import cross_val_score, train_test_split

    mlflow.set_tracking_uri("sqlite:///recipe.db")
    mlflow.set_experiment("recipe")
    X, y = load_diabetes(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=0)

    def objective(trial: optuna.Trial) -> float:
        params = {
            "n_estimators": trial.suggest_int("n_estimators", 50, 500),
            "max_depth": trial.suggest_int("max_depth", 2, 32),
            "min_samples_split": trial.suggest_int("min_samples_split", 2, 20),
            "min_samples_leaf": trial.suggest_int("min_samples_leaf", 1, 20),
            "max_features": trial.suggest_float("max_features", 0.1, 1.0),
        }
        with mlflow.start_run(nested=True, run_name=f"trial-{trial.number}"):
            mlflow.log_params(params)
            forest = RandomForestRegressor(**params, random_state=0)
            scores = cross_val_score(
                forest, X_train, y_train, cv=5, scoring="neg_root_mean_squared_error", n_jobs=-1
            )
            rmse = float(-scores.mean())
            mlflow.log_metric("rmse", rmse)
        return rmse

    with mlflow.start_run(run_name="study"):
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
        study.optimize(objective, n_trials=trials)
        best = RandomForestRegressor(**study.best_params, random_state=0, n_jobs=-1)
        best.fit(X_train, y_train)
        mlflow.log_metric("holdout_rmse", root_mean_squared_error(y_test, best.predict(X_test)))
        mlflow.sklearn.log_model(
            best,
            name="model",
            registered_model_name="recipe",
            skops_trusted_types=["sklearn.tree._tree.Tree"],
        )


def timed(command: list[str]) -> tuple[float, float]:
    """Run a command in an empty folder; return its wall and CPU seconds, children included."""
    with tempfile.TemporaryDirectory() as folder:
        before, begun = os.times(), time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        after = os.times()
    wall = time.perf_counter() - begun
    cpu = after.children_user - before.children_user
    return wall, cpu + after.children_system - before.children_system


def main() -> None:
    """Time both, in turn, and print the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--only-recipe", action="store_true", help="run the recipe here, untimed")
    arguments = parser.parse_args()
    if arguments.only_recipe:
        recipe(arguments.trials)
        return
    trials = ["--trials", str(arguments.trials)]
    commands = {
        "grovekeeper": [str(Path(sys.executable).with_name("grovekeeper")), "launch", *trials],
        "recipe": [sys.executable, str(Path(__file__).resolve()), "--only-recipe", *trials],
    }
    walls: dict[str, list[float]] = {name: [] for name in commands}
    cpus: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(arguments.rounds):
        for name, command in commands.items():
            wall, cpu = timed(command)
            walls[name].append(wall)
            cpus[name].append(cpu)
            print(f"round {number + 1}  {name:12} wall {wall:6.1f} s  cpu {cpu:6.1f} s", flush=True)
    for kind, seconds in (("wall", walls), ("cpu", cpus)):
        ours, theirs = (statistics.median(seconds[name]) for name in commands)
        print(f"median {kind}: {ours:.1f} s against {theirs:.1f} s, a {theirs / ours:.1f}th")


if __name__ == "__main__":
    main()

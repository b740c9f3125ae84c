"""The other searches of large.py, each a separate program with a budget in seconds.

A peer reads train.parquet, searches, refits its best forest, predicts the rows of test.parquet, and
writes predictions.npy. The searches themselves are those of peers.py.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from peers import FOLDS, SEED, Problem, distributions, fit_flaml, optimize, seconds_since_start
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

CANDIDATES = 50  # number for successive halving
# Share of the budget in which the recipe starts trials.
_SEARCHING = 0.8


class RawProblem(Problem):
    """A raw table: forests see the ordinal codes of its texts, and its numbers as they are."""

    def make(self, **params: Any) -> Any:
        """Return an unfitted pipeline."""
        codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        texts = make_column_selector(dtype_exclude="number")
        encoder = make_column_transformer((codes, texts), remainder="passthrough")
        return make_pipeline(encoder, super().make(**params))


def recipe(problem: RawProblem) -> Any:
    """Run the usual recipe, Optuna with cross-validation, until 80% of the budget is spent.

    A trial that has begun is not interrupted. The rest of the budget is for the refit.
    """
    searching = _SEARCHING * problem.seconds - seconds_since_start()
    study, *_ = optimize(problem, timeout=max(searching, 1.0))
    return problem.make(**study.best_params, n_jobs=-1).fit(problem.X, problem.y)


def halving_search(problem: RawProblem) -> Any:
    """Run HalvingRandomSearchCV with rows as the resource; it has no time limit."""
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingRandomSearchCV

    model = problem.make(n_estimators=100)
    forest = model.steps[-1][0]
    search = HalvingRandomSearchCV(
        model,
        {f"{forest}__{name}": values for name, values in distributions().items()},
        n_candidates=problem.trials,
        min_resources="exhaust",
        cv=FOLDS,
        scoring=problem.scoring,
        n_jobs=problem.cores,
        random_state=SEED,
    )
    return search.fit(problem.X, problem.y)


def flaml(problem: RawProblem) -> Any:
    """Run FLAML on random forests only, within its time budget."""
    return fit_flaml(problem, problem.seconds - seconds_since_start())


PEERS: dict[str, Callable[[RawProblem], Any]] = {
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
    limits = CANDIDATES, arguments.cores, arguments.seconds
    model = PEERS[arguments.peer](RawProblem(train, y, arguments.task, *limits))
    test = pd.read_parquet("test.parquet").drop(columns=arguments.target)
    if arguments.task == "regression":
        np.save("predictions.npy", model.predict(test))
    else:
        np.save("predictions.npy", model.predict_proba(test)[:, 1])


if __name__ == "__main__":
    main()

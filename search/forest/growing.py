"""Chunks of trees -> `OobSums`. No Optuna, no MLflow, no Dask.

A chunk of trees is fitted, its votes on the rows that each tree did not see are added up, and the
trees are dropped. scikit-learn is imported where it is used: workers have it before their first
task, and the process that coordinates them starts a second sooner without.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from search.forest.oob import OobSums
from search.forest.training_set import TrainingSet, writable

if TYPE_CHECKING:
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        ExtraTreesRegressor,
        RandomForestClassifier,
        RandomForestRegressor,
    )
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    Forest: TypeAlias = (
        RandomForestRegressor | RandomForestClassifier | ExtraTreesRegressor | ExtraTreesClassifier
    )

_CHAMPION = 2**32 - 1

Array = NDArray[Any]


def seed_of(study_seed: int, *path: int) -> int:
    """Derive the seed of one random thing from the study's seed and the thing's place in it."""
    return int(np.random.SeedSequence([study_seed, *path]).generate_state(1)[0])


def champion_seed(study_seed: int) -> int:
    """Seed of the forest that is kept."""
    return seed_of(study_seed, _CHAMPION)


def make_forest(
    params: Mapping[str, Any], n_classes: int, trees: int, seed: int, jobs: int = 1
) -> "Forest":
    """Return an unfitted scikit-learn forest; `n_classes` is 0 for a regression.

    The hyperparameter ``splitter`` chooses its kind: ``best`` is a random forest, ``random`` a
    forest of extremely randomised trees, on bootstraps like the other.
    """
    from sklearn import ensemble

    own = dict(params)
    if own.pop("splitter", "best") == "best":
        kind = ensemble.RandomForestClassifier if n_classes else ensemble.RandomForestRegressor
    else:
        kind = ensemble.ExtraTreesClassifier if n_classes else ensemble.ExtraTreesRegressor
    forest: Forest = kind(n_estimators=trees, random_state=seed, n_jobs=jobs, bootstrap=True, **own)
    return forest


def fit_forest(forest: "Forest", X: Any, y: Any, weights: Array | None) -> "Forest":
    """Fit a forest on weighted rows, of a data frame or an array.

    scikit-learn advises against shares of few rows; here the search has chosen them.
    """
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using the fractional value max_samples", UserWarning)
        fitted: Forest = forest.fit(writable(X), y, sample_weight=weights)
    if hasattr(X, "columns"):
        fitted.feature_names_in_ = np.asarray(X.columns, dtype=object)
    return fitted


def grow(
    rows: TrainingSet, params: Mapping[str, Any], seed: int, place: int, chunks: Iterable[int]
) -> Iterator[OobSums]:
    """Grow chunks of a trial's trees, one after the other.

    Parameters
    ----------
    seed, place
        The study's seed and the trial's place in the search: with the chunk's number they are all
        that the chunk's randomness comes from.
    chunks
        Their numbers.

    Yields
    ------
    the sums of each chunk, to be added in the chunks' order
    """
    from sklearn import config_context

    for chunk in chunks:
        with config_context(skip_parameter_validation=True):
            yield _grow_chunk(rows, params, chunk, seed_of(seed, place, chunk))


def _grow_chunk(rows: TrainingSet, params: Mapping[str, Any], chunk: int, seed: int) -> OobSums:
    """Grow one chunk as scikit-learn's forests do: a bootstrap's counts as weights, a tree on each.

    Its own loop, because a forest clones and validates each tree anew, which on a few hundred rows
    costs about as much as growing it. One generator serves the whole chunk.
    """
    start = time.perf_counter()
    n_rows, n_classes = len(rows.y), rows.n_classes
    votes, squares = np.zeros(n_rows), np.zeros(n_rows)
    total = np.zeros((n_rows, n_classes) if n_classes else n_rows)
    random = np.random.RandomState(seed)
    own = dict(params)
    share = own.pop("max_samples", 1.0)
    balanced = own.pop("class_weight", None) == "balanced_subsample"
    tree = _make_tree(own, n_classes, random)
    for _ in range(rows.chunk):
        counts, out = rows.resampling.draw(chunk, n_rows, share, rows.weights, random)
        weights = _balanced(counts, rows.y, n_classes) if balanced else counts
        # A tree looks for missing values only where it checks its input.
        tree.fit(rows.X, rows.y, sample_weight=weights, check_input=rows.has_missing)
        predicted = tree.tree_.predict(rows.X[out])
        predicted = predicted.reshape((len(out), n_classes) if n_classes else len(out))
        votes[out] += 1
        total[out] += predicted
        squares[out] += (predicted**2).sum(axis=1) if n_classes else predicted**2
    return OobSums(votes, total, squares, rows.chunk, time.perf_counter() - start)


def _make_tree(
    params: Mapping[str, Any], n_classes: int, random: np.random.RandomState
) -> "DecisionTreeClassifier | DecisionTreeRegressor":
    """Return an unfitted tree, as a forest of `params` has it."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    kind = DecisionTreeClassifier if n_classes else DecisionTreeRegressor
    default = {"max_features": "sqrt" if n_classes else 1.0}
    return kind(random_state=random, **(default | dict(params)))


def _balanced(counts: Array, y: Array, n_classes: int) -> Array:
    """Weigh drawn rows so that each class weighs the same, as ``balanced_subsample`` does."""
    drawn = np.bincount(y, counts, minlength=n_classes)
    present = drawn > 0
    weight = np.where(present, drawn.sum() / (present.sum() * np.where(present, drawn, 1)), 0.0)
    return np.asarray(counts * weight[y])

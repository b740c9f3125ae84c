"""Fits complete scikit-learn forests, such as the champion, also in parts on several machines.

scikit-learn is imported inside functions, so that commands that fit nothing start faster.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from search.forest.growing import ENCODING, derive_seed
from search.forest.training_set import TrainingSet, writable

if TYPE_CHECKING:
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        ExtraTreesRegressor,
        RandomForestClassifier,
        RandomForestRegressor,
    )

    Forest: TypeAlias = (
        RandomForestRegressor | RandomForestClassifier | ExtraTreesRegressor | ExtraTreesClassifier
    )

# A part of a forest: the number of its first tree, and its trees.
Part: TypeAlias = tuple[int, list[Any]]
# A function that grows the parts of a forest, given hyperparameters, seed and number of trees.
GrowElsewhere: TypeAlias = Callable[[Mapping[str, Any], int, int], Iterator[Part]]
# Used in the seed path instead of a trial's place; no trial reaches this number.
_CHAMPION = 2**32 - 1
# Parts for each thread or worker. Progress is shown whenever a part is finished.
_PARTS_PER_JOB = 8

Array = NDArray[Any]


def champion_seed(study_seed: int) -> int:
    """Return the seed of the champion's forest; no trial uses it."""
    return derive_seed(study_seed, _CHAMPION)


def make_forest(
    params: Mapping[str, Any], n_classes: int, trees: int, seed: int, jobs: int = 1
) -> "Forest":
    """Return an unfitted scikit-learn forest.

    The hyperparameter ``splitter`` selects the class: ``best`` is a random forest, ``random`` a
    forest of extremely randomized trees. Both draw bootstrap samples.

    Parameters
    ----------
    params
        Hyperparameters of the search space. All but ``splitter`` and ``encoding``, which describes
        the rows that the forest is fitted on, are passed to scikit-learn.
    n_classes
        0 for regression.
    trees
        Number of trees.
    """
    from sklearn import ensemble

    forest_params = dict(params)
    forest_params.pop(ENCODING, None)
    if forest_params.pop("splitter", "best") == "best":
        kind = ensemble.RandomForestClassifier if n_classes else ensemble.RandomForestRegressor
    else:
        kind = ensemble.ExtraTreesClassifier if n_classes else ensemble.ExtraTreesRegressor
    forest: Forest = kind(
        n_estimators=trees, random_state=seed, n_jobs=jobs, bootstrap=True, **forest_params
    )
    return forest


def fit_forest(forest: "Forest", X: Any, y: Any, weights: Array | None) -> "Forest":
    """Fit a forest on a data frame or an array, with row weights, and return it."""
    with _expected_warnings():
        fitted: Forest = forest.fit(writable(X), y, sample_weight=weights)
    if hasattr(X, "columns"):
        fitted.feature_names_in_ = np.asarray(X.columns, dtype=object)
    return fitted


@contextmanager
def _expected_warnings() -> Iterator[None]:
    """Suppress warnings about parameters that this project sets on purpose."""
    with warnings.catch_warnings():
        # The search chose a small share.
        warnings.filterwarnings("ignore", "Using the fractional value max_samples", UserWarning)
        # All parts of a forest are fitted on the same rows.
        warnings.filterwarnings("ignore", "class_weight presets", UserWarning)
        yield


def divide(trees: int, jobs: int) -> list[range]:
    """Divide the numbers of a forest's trees into parts for `jobs` threads or workers."""
    step = max(1, trees // (_PARTS_PER_JOB * jobs))
    return [range(first, min(first + step, trees)) for first in range(0, trees, step)]


def grow_part(
    training_set: TrainingSet, params: Mapping[str, Any], seed: int, numbers: range
) -> Part:
    """Grow some trees of the forest that `make_forest` returns for the parameters and the seed.

    They are the trees that fitting the whole forest grows.
    """
    X, n_classes = training_set.matrix(params.get(ENCODING)), training_set.n_classes
    forest = make_forest(params, n_classes, numbers.stop, seed)
    with _expected_warnings():
        return _fit_part(forest, X, training_set.y, training_set.weights, numbers)


def _fit_part(forest: "Forest", X: Any, y: Any, weights: Array | None, numbers: range) -> Part:
    """Fit some of a forest's trees.

    With ``warm_start``, scikit-learn draws the seeds of existing trees again, and uses nothing else
    of these trees. Placeholders can therefore take the place of trees that grow elsewhere.
    """
    forest.set_params(warm_start=True, n_estimators=numbers.stop)
    forest.estimators_ = [None] * numbers.start
    forest.fit(X, y, sample_weight=weights)
    return numbers.start, list(forest.estimators_[numbers.start :])


def grow_parts(
    make: "Callable[[], Forest]", X: Any, y: Any, weights: Array | None, jobs: int
) -> Iterator[Part]:
    """Grow a forest in the threads of this process; yield its parts as they are finished.

    Parameters
    ----------
    make
        Returns the unfitted forest.
    """
    from joblib import Parallel, delayed

    rows = writable(X)
    run = Parallel(n_jobs=jobs, prefer="threads", return_as="generator_unordered")
    with _expected_warnings():  # here, because threads share the filters of warnings
        yield from run(
            delayed(_fit_part)(make(), rows, y, weights, numbers)
            for numbers in divide(make().n_estimators, jobs)
        )


def assemble(
    forest: "Forest", X: Any, y: Any, weights: Array | None, parts: Iterable[Part]
) -> "Forest":
    """Fit a forest, given its trees; it equals the forest that `fit_forest` returns."""
    trees = [tree for _, part in sorted(parts, key=lambda part: part[0]) for tree in part]
    params = forest.get_params()
    # The forest's other attributes do not depend on its trees, so a single small tree sets them.
    forest.set_params(n_estimators=1, max_depth=1, max_features=1)
    fit_forest(forest, X, y, weights)
    forest.set_params(**params)
    forest.estimators_ = trees
    return forest

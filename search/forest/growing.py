"""Fits chunks of trees and adds up their votes.

A chunk is a number of trees that share one seed. Each tree votes on the rows that it was not
trained on; the votes are added to `OobSums` and the tree is dropped. scikit-learn is imported
inside functions: workers have imported it before their first task, and the coordinator starts about
a second faster without it.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from search.forest.oob import OobSums
from search.forest.training_set import TrainingSet

if TYPE_CHECKING:
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

# Name of the hyperparameter that selects a training set's matrix.
ENCODING = "encoding"

Array = NDArray[Any]


def derive_seed(study_seed: int, *path: int) -> int:
    """Derive a seed from the study's seed and a path of integers, such as (place, chunk)."""
    return int(np.random.SeedSequence([study_seed, *path]).generate_state(1)[0])


def grow(
    training_set: TrainingSet,
    params: Mapping[str, Any],
    seed: int,
    place: int,
    chunks: Iterable[int],
) -> Iterator[OobSums]:
    """Grow chunks of a trial's trees, one after the other.

    Parameters
    ----------
    params
        The trial's hyperparameters.
    seed, place
        The study's seed and the trial's place in the search. Together with the chunk's number they
        determine all randomness of a chunk.
    chunks
        Numbers of the chunks, from 0.

    Yields
    ------
    OobSums
        One for each chunk. Add them in the order of the chunks to get the same bits every time.
    """
    from sklearn import config_context

    for chunk in chunks:
        with config_context(skip_parameter_validation=True):
            yield _grow_chunk(training_set, params, chunk, derive_seed(seed, place, chunk))


def _grow_chunk(
    training_set: TrainingSet, params: Mapping[str, Any], chunk: int, seed: int
) -> OobSums:
    """Grow one chunk as scikit-learn's forests do: each tree is weighted by its bootstrap counts.

    This loop replaces scikit-learn's own because a forest clones and validates every tree. On a few
    hundred rows that costs about as much as growing the tree. One random generator serves the whole
    chunk.
    """
    tree_params = dict(params)
    encoding = tree_params.pop(ENCODING, None)
    X, has_missing = training_set.matrix(encoding), training_set.has_missing(encoding)
    start = time.perf_counter()
    y, n_classes = training_set.y, training_set.n_classes
    n_rows = len(y)
    votes, squares = np.zeros(n_rows), np.zeros(n_rows)
    total = np.zeros((n_rows, n_classes) if n_classes else n_rows)
    random = np.random.RandomState(seed)
    max_samples = tree_params.pop("max_samples", 1.0)
    balanced = tree_params.pop("class_weight", None) == "balanced_subsample"
    tree, nodes = _make_tree(tree_params, n_classes, random), 0
    for _ in range(training_set.chunk):
        counts, out_of_bag = training_set.resampling.draw(
            chunk, n_rows, max_samples, training_set.weights, random
        )
        weights = _balance(counts, y, n_classes) if balanced else counts
        # A tree handles missing values only if it checks its input.
        tree.fit(X, y, sample_weight=weights, check_input=has_missing)
        nodes += tree.tree_.node_count
        predicted = tree.tree_.predict(X[out_of_bag])
        predicted = predicted.reshape(
            (len(out_of_bag), n_classes) if n_classes else len(out_of_bag)
        )
        votes[out_of_bag] += 1
        total[out_of_bag] += predicted
        squares[out_of_bag] += (predicted**2).sum(axis=1) if n_classes else predicted**2
    return OobSums(
        votes,
        total,
        squares,
        training_set.chunk,
        time.perf_counter() - start,
        nodes=int(nodes),
    )


def _make_tree(
    params: Mapping[str, Any], n_classes: int, random: np.random.RandomState
) -> "DecisionTreeClassifier | DecisionTreeRegressor":
    """Return an unfitted tree with the defaults that it has in scikit-learn's forests."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    kind = DecisionTreeClassifier if n_classes else DecisionTreeRegressor
    default = {"max_features": "sqrt" if n_classes else 1.0}
    return kind(random_state=random, **(default | dict(params)))


def _balance(counts: Array, y: Array, n_classes: int) -> Array:
    """Weight the drawn rows so that all drawn classes have equal total weight.

    This is ``class_weight="balanced_subsample"`` of scikit-learn.

    Parameters
    ----------
    counts : array of shape (n_rows,)
        How often each row was drawn.
    y : array of shape (n_rows,)
        Class indices.

    Returns
    -------
    array of shape (n_rows,)
        The counts times the weight of each row's class.
    """
    drawn = np.bincount(y, counts, minlength=n_classes)
    present = drawn > 0
    weight = np.where(present, drawn.sum() / (present.sum() * np.where(present, drawn, 1)), 0.0)
    return np.asarray(counts * weight[y])

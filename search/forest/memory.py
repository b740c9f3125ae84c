"""Estimates the memory that a study needs and compares it with what is free on this machine."""

from itertools import pairwise

from search.environment import free_memory
from search.errors import DataError
from search.forest.training_set import TrainingSet
from search.formatting import size

# Bytes of a worker's libraries.
_BASE = 200e6
# Arrays of the size of the sums that exist while sums are scored. The sums of each chunk of a rung
# add to these.
_COPIES = 8
# Bytes of a node in scikit-learn's tree: children, feature, threshold, impurity and counts.
_NODE_BYTES = 64
# Nodes of a tree, per row, if each leaf holds one row.
_NODES_PER_ROW = 2
# Smaller estimates, in bytes, are not reported.
_MIN_REPORTED = 500e6


def check_memory(training_set: TrainingSet, workers: int) -> str | None:
    """Compare the memory that a study needs with the free memory of this machine.

    A tree is dropped as soon as it has voted. A trial keeps only a vector over the classes for
    each row.

    Returns
    -------
    str or None
        A sentence that reports the need; ``None`` if it is below 500 MB.

    Raises
    ------
    DataError
        If the study needs more than is free; the message names ways to reduce the need.
    """
    n_rows, trial_bytes = len(training_set.y), _trial_bytes(training_set)
    needed = training_set.nbytes + workers * (_BASE + trial_bytes)
    free = free_memory()
    n_classes = training_set.n_classes
    classes = f" x {n_classes} classes" if n_classes else ""
    if needed > free:
        msg = (
            f"{n_rows} rows{classes} need {size(trial_bytes)} in each of {workers} workers and "
            f"{size(training_set.nbytes)} for the table, {size(needed)} in all, but {size(free)} "
            "are free: use fewer --workers, remove rows, or merge rare classes"
        )
        raise DataError(msg)
    if needed < _MIN_REPORTED:
        return None
    return (
        f"memory: {size(training_set.nbytes)} for the table, shared by the workers, and up to "
        f"{size(_BASE + trial_bytes)} in each of them"
    )


def worker_memory(training_set: TrainingSet, threads: int) -> float:
    """Return the bytes that a study needs in a worker process of another machine."""
    return _BASE + training_set.nbytes + threads * _trial_bytes(training_set)


def node_bytes(n_classes: int) -> int:
    """Return the bytes of a tree's node, which stores one value per class."""
    return _NODE_BYTES + 8 * max(n_classes, 1)


def max_tree_bytes(n_rows: int, n_classes: int) -> int:
    """Return an upper bound of the bytes of a tree that is trained on `n_rows` rows."""
    return _NODES_PER_ROW * n_rows * node_bytes(n_classes)


def _trial_bytes(training_set: TrainingSet) -> float:
    """Return the bytes of one trial while it grows: its sums, and one tree."""
    n_rows, n_classes = len(training_set.y), training_set.n_classes
    width = max(n_classes, 1) + 2
    trees = [rung.trees for rung in training_set.rungs if rung.rows == n_rows]
    max_trees = max(after - before for before, after in pairwise((0, *trees)))
    sums = 8.0 * n_rows * width * (_COPIES + max_trees // training_set.chunk)
    return sums + max_tree_bytes(n_rows, n_classes)

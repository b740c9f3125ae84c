"""Whether the study fits into this machine's memory, and what it takes there."""

from itertools import pairwise

from search.environment import free_memory
from search.errors import DataError
from search.forest.training_set import TrainingSet
from search.formatting import size

# A worker's libraries.
_BASE = 200e6
# So many arrays of the size of the sums are there at once while sums are judged; the sums of each
# chunk of a rung come to these.
_COPIES = 8
# Of scikit-learn's tree: children, feature, threshold, impurity and counts of a node.
_NODE_BYTES = 64
# Of a tree whose leaves are single rows.
_NODES_A_ROW = 2
# Below this nobody needs to know.
_WORTH_A_WORD = 500e6


def check_memory(rows: TrainingSet, workers: int) -> str | None:
    """Compare what a study takes with what is free on this machine.

    Each tree is dropped as soon as it has voted; what stays is a vector over classes for each row.

    Returns
    -------
    a sentence on what it takes; ``None`` where it is little

    Raises
    ------
    DataError
        When it is more than there is; the message says what would lessen it.
    """
    n_rows, growing = len(rows.y), _growing(rows)
    needed = rows.X.nbytes + workers * (_BASE + growing)
    free = free_memory()
    classes = f" x {rows.n_classes} classes" if rows.n_classes else ""
    if needed > free:
        msg = (
            f"{n_rows} rows{classes} take {size(growing)} in each of {workers} workers and "
            f"{size(rows.X.nbytes)} for the table, {size(needed)} in all, and {size(free)} are "
            "free: take fewer --workers, leave rows out, or put rare classes together"
        )
        raise DataError(msg)
    if needed < _WORTH_A_WORD:
        return None
    return (
        f"memory: {size(rows.X.nbytes)} for the table, shared by the workers, and up to "
        f"{size(_BASE + growing)} in each of them"
    )


def worker_memory(rows: TrainingSet, threads: int) -> float:
    """Return the bytes that a study takes in a worker process of another machine."""
    return _BASE + rows.X.nbytes + threads * _growing(rows)


def node_bytes(n_classes: int) -> int:
    """Return the bytes of a tree's node, which holds a share of every class."""
    return _NODE_BYTES + 8 * max(n_classes, 1)


def max_tree_bytes(n_rows: int, n_classes: int) -> int:
    """Return the bytes of a tree of so many rows, at most."""
    return _NODES_A_ROW * n_rows * node_bytes(n_classes)


def _growing(rows: TrainingSet) -> float:
    """Return the bytes that one trial takes while it grows: its sums, and a tree."""
    width = max(rows.n_classes, 1) + 2
    chunks = max(after - before for before, after in pairwise((0, *rows.resampling.rungs)))
    sums = 8.0 * len(rows.y) * width * (_COPIES + chunks // rows.chunk)
    return sums + max_tree_bytes(len(rows.y), rows.n_classes)

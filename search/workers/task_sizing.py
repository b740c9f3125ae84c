"""Divides work into tasks by the observed speed; this does not affect what is grown."""

import math
from collections.abc import Callable, Hashable

# Seconds that a task should take: long compared with the overhead of sending it, and short enough
# that losing it costs little.
_MIN_SECONDS, _MAX_SECONDS = 1.0, 10.0
# Initial estimate of the seconds of a tree: per value of the table, and a constant.
_SECONDS_PER_VALUE, _SECONDS_PER_TREE = 5e-7, 1e-3
# One waiting task for this many workers.
_WORKERS_PER_WAITING_TASK = 8
# Weight of a new observation in the moving average of a tree's seconds.
_LEARNING_RATE = 0.2


class TaskSizer:
    """Keeps all workers busy: counts unfinished tasks and divides long work into several tasks.

    Parameters
    ----------
    workers
        Returns the number of tasks that can run at the same time.
    n_values
        Number of values (rows times columns) of the training data.
    """

    def __init__(self, workers: Callable[[], int], n_values: int) -> None:
        self._workers = workers
        self._tasks: dict[Hashable, int] = {}
        self._seconds = _SECONDS_PER_TREE + _SECONDS_PER_VALUE * n_values

    def has_room(self) -> bool:
        """Whether another trial should start.

        A few waiting tasks keep the workers busy while the coordinator is, and when some parts of
        a growth end before others. With a single worker no task waits, so that proposals do not
        depend on how trials overlap.
        """
        workers = self._workers()
        waiting = max(1, workers // _WORKERS_PER_WAITING_TASK) if workers > 1 else 0
        return sum(self._tasks.values()) < workers + waiting

    def add(self, growth: Hashable, parts: int) -> None:
        """Count a growth that started with this number of tasks."""
        self._tasks[growth] = parts

    def remove(self, growth: Hashable) -> None:
        """Stop counting a growth that is finished."""
        del self._tasks[growth]

    def observe(self, seconds: float) -> None:
        """Update the estimate with the mean seconds per tree of a trial, on all rows."""
        self._seconds += _LEARNING_RATE * (seconds - self._seconds)

    def is_short(self, trees: float) -> bool:
        """Whether trees, counted as in `parts`, take less than a second: one task is enough."""
        return self._seconds * trees < _MIN_SECONDS

    def parts(self, chunks: int, trees: float) -> int:
        """Return the number of tasks to divide work into.

        It is large enough that no task takes longer than ten seconds. If workers are idle, it is
        increased as long as each task takes at least a second.

        Parameters
        ----------
        chunks, trees
            Number of chunks, and trees in each chunk. A tree on a sample of the rows counts as a
            fraction of a tree on all rows.
        """
        seconds = self._seconds * trees
        max_chunks = max(1, int(_MAX_SECONDS / seconds))
        min_chunks = math.ceil(_MIN_SECONDS / seconds)
        idle = self._workers() - sum(self._tasks.values())
        return max(math.ceil(chunks / max_chunks), min(idle, chunks // min_chunks))

"""How work is cut into tasks, by what growing has taken so far; never what is grown."""

import math
from collections.abc import Callable, Hashable

# Seconds that a task is to take: long enough to be worth its way, short enough to be lost.
_SHORTEST, _LONGEST = 1.0, 10.0
# A first guess at a tree's seconds: what rows and columns cost, and Python's share.
_PER_VALUE, _PER_TREE = 5e-7, 1e-3
# For so many workers a task waits that is nobody's yet.
_WORKERS_A_SPARE = 8
# How fast the guess follows what is seen.
_LEARN = 0.2


class TaskSizer:
    """Keeps every worker busy: counts the tasks under way and cuts long work into several.

    Parameters
    ----------
    workers
        Tells how many tasks run at the same time now.
    n_values
        Rows times columns of the training data.
    """

    def __init__(self, workers: Callable[[], int], n_values: int) -> None:
        self._workers = workers
        self._tasks: dict[Hashable, int] = {}
        self._seconds = _PER_TREE + _PER_VALUE * n_values

    def has_room(self) -> bool:
        """Whether another task would find a worker, or be the next to.

        Some tasks more than workers keep them busy while the coordinator thinks, and where parts
        of a growth end before others; a single worker gets none, so that what a trial is proposed
        from does not depend on how trials overlap.
        """
        workers = self._workers()
        ahead = max(1, workers // _WORKERS_A_SPARE) if workers > 1 else 0
        return sum(self._tasks.values()) < workers + ahead

    def begun(self, growth: Hashable, parts: int) -> None:
        """Take it that a growth runs, in so many tasks."""
        self._tasks[growth] = parts

    def ended(self, growth: Hashable) -> None:
        """Take it that a growth is done."""
        del self._tasks[growth]

    def learn(self, seconds: float) -> None:
        """Take what a tree has taken."""
        self._seconds += _LEARN * (seconds - self._seconds)

    def is_short(self, trees: int) -> bool:
        """Whether so many trees are grown within a second: then one task is enough."""
        return self._seconds * trees < _SHORTEST

    def parts(self, chunks: int, trees: int) -> int:
        """Return how many tasks to cut so many chunks of so many trees into.

        As many as no task takes longer than ten seconds; more where workers are idle, as long as
        each takes a second.
        """
        seconds = self._seconds * trees
        most, least = max(1, int(_LONGEST / seconds)), math.ceil(_SHORTEST / seconds)
        idle = self._workers() - sum(self._tasks.values())
        return max(math.ceil(chunks / most), min(idle, chunks // least))

"""A trial is given up when it is behind the best so far by more than chance explains.

The comparison is paired: both forests are scored on the same blocks of rows at the same number of
trees, so that what is hard in the rows cancels out.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from storage.records import Direction, sign

# Standard errors by which a trial may be behind. Chosen by benchmarks/variants.py.
BEHIND = 1.0

Blocks = Sequence[float]


def is_behind(blocks: Blocks, rival: Blocks, direction: Direction) -> bool:
    """Whether what blocks of rows say of a trial is worse than what they say of its rival."""
    behind = np.asarray(blocks) - np.asarray(rival)
    if direction == "maximize":
        behind = -behind
    error = behind.std(ddof=1) / np.sqrt(len(behind)) if len(behind) > 1 else np.inf
    return bool(behind.mean() > BEHIND * error)


class Incumbent:
    """Knows the incumbent: the complete trial of the best value so far.

    Attributes
    ----------
    pseudo_values
        What the blocks of rows say of it, by number of trees; empty where there is none yet.
    """

    def __init__(self, direction: Direction) -> None:
        self.pseudo_values: Mapping[int, Blocks] = {}
        self._sign = sign(direction)
        self._value: float | None = None

    def update(self, value: float, blocks: Mapping[int, Blocks]) -> bool:
        """Take a complete trial; return whether it is the incumbent now."""
        if self._value is not None and self._sign * value >= self._sign * self._value:
            return False
        self._value, self.pseudo_values = value, dict(blocks)
        return True

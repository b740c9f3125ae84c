"""Decides whether a trial is pruned: it is worse than the incumbent by more than chance explains.

The comparison is paired. Both forests are scored on the same blocks of rows at the same number of
trees, so that the difficulty of the rows cancels out. `oob.jackknife` computes the pseudo-values.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from storage.records import Direction, sign

# A trial is pruned if it is worse by more than this number of standard errors; the value was chosen
# with benchmarks/variants.py.
BEHIND = 1.0

# One jackknife pseudo-value of the score for each block of rows.
PseudoValues = Sequence[float]


def is_behind(trial: PseudoValues, incumbent: PseudoValues, direction: Direction) -> bool:
    """Whether a trial scores worse than the incumbent by more than one standard error.

    With differences d of B blocks, oriented so that positive is worse, the trial is behind if
    mean(d) > `BEHIND` * std(d) / sqrt(B). A NaN or a single block never puts a trial behind.

    Parameters
    ----------
    trial, incumbent : sequences of length B
        Pseudo-values of the same blocks of rows at the same number of trees.
    """
    difference = np.asarray(trial) - np.asarray(incumbent)
    if direction == "maximize":
        difference = -difference
    n_blocks = len(difference)
    error = difference.std(ddof=1) / np.sqrt(n_blocks) if n_blocks > 1 else np.inf
    return bool(difference.mean() > BEHIND * error)


class Incumbent:
    """The best complete trial so far; among equal values, the first one.

    Attributes
    ----------
    pseudo_values
        Pseudo-values of its score by number of trees; empty until a trial is complete.
    """

    def __init__(self, direction: Direction) -> None:
        self.pseudo_values: Mapping[int, PseudoValues] = {}
        self._sign = sign(direction)
        self._value: float | None = None

    def update(self, value: float, pseudo_values: Mapping[int, PseudoValues]) -> bool:
        """Compare with another complete trial; return whether that one is the incumbent now."""
        if self._value is not None and self._sign * value >= self._sign * self._value:
            return False
        self._value, self.pseudo_values = value, dict(pseudo_values)
        return True

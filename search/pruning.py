"""Asynchronous successive halving between rungs, on the scores in Optuna's database."""

from typing import TYPE_CHECKING

from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import TrialState

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

# Trees at which trials are compared; multiples of `forest.CHUNK`.
RUNGS = (32, 128)
_KEEP_ONE_IN = 3


class HalvingPruner(BasePruner):
    """Keep a trial whose score is among the best third of those that reached the same rung.

    Asynchronous successive halving (Li et al. 2020, "A system for massively parallel hyperparameter
    tuning"). Unlike Optuna's, it writes nothing to the database and does not count interrupted
    trials, which are grown once more and would count twice.
    """

    def prune(self, study: "optuna.Study", trial: "FrozenTrial") -> bool:
        """Judge the trial at the last rung that it reported."""
        rung = trial.last_step
        if rung is None:
            return False
        own = trial.intermediate_values[rung]
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        rivals = [
            other.intermediate_values[rung]
            for other in study.get_trials(deepcopy=False, states=states)
            if other.number != trial.number and rung in other.intermediate_values
        ]
        if study.direction == StudyDirection.MAXIMIZE:
            better = sum(value > own for value in rivals)
        else:
            better = sum(value < own for value in rivals)
        return better >= max(1, (len(rivals) + 1) // _KEEP_ONE_IN)

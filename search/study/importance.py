"""Importance of a study's hyperparameters, as the note on its run and its champion record it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import optuna

# Complete trials from which importance is weighed; of less it says nothing.
_ENOUGH = 10
_MENTIONED, _LEAST = 3, 0.01


def importance(study: "optuna.Study") -> dict[str, float]:
    """Weigh what the best trials' hyperparameters have in common (PED-ANOVA, Watanabe 2023).

    Returns
    -------
    the share of up to three that matter, the greatest first; empty where complete trials are too
    few or all the same
    """
    import warnings

    from optuna.importance import get_param_importances
    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < _ENOUGH or len({trial.value for trial in complete}) == 1:
        return {}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of parameters that never varied
        found = get_param_importances(study)
    shares = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return {name: round(float(share), 3) for name, share in shares[:_MENTIONED] if share > _LEAST}

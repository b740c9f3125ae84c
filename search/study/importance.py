"""Importance of a study's hyperparameters."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import optuna

# Importance is estimated only from this many complete trials or more.
_MIN_TRIALS = 10
_MAX_REPORTED, _MIN_SHARE = 3, 0.01


def importance(study: "optuna.Study") -> dict[str, float]:
    """Estimate the importance of hyperparameters by PED-ANOVA (Watanabe et al. 2023).

    Returns
    -------
    the shares of up to three hyperparameters, largest first; empty if there are too few complete
    trials or all have the same value
    """
    import warnings

    from optuna.importance import get_param_importances
    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < _MIN_TRIALS or len({trial.value for trial in complete}) == 1:
        return {}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna warns about parameters that never varied
        found = get_param_importances(study)
    shares = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return {
        name: round(float(share), 3) for name, share in shares[:_MAX_REPORTED] if share > _MIN_SHARE
    }

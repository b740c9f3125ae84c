"""The note on a study's run: how far the search is, what is best, and what it learned."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from search.wording import code, of_trial, params_listed, scores_listed
from storage.progress import Progress
from storage.records import StudyState

if TYPE_CHECKING:
    import optuna

# Complete trials from which importance is weighed; of less it says nothing.
_ENOUGH = 10
_MENTIONED, _LEAST = 3, 0.01


def describe(notes: Mapping[str, Any], progress: Progress, state: StudyState) -> str:
    """Return the note, in Markdown.

    Parameters
    ----------
    notes
        What is kept with the study in its database.
    """
    spec, counts = notes["spec"], progress.counts
    shown = ", ".join(f"{n} {name}" for name, n in counts.items() if n) or "none yet"
    lines = [f"**{state}**: {progress.finished} of {notes.get('goal')} trials finished ({shown})"]
    best = progress.champion
    if best is not None:
        scored = f"{spec['metric']} {best.value:.5g}"
        lines.append(
            f"**Best**: trial {best.number}, {scored} ({code(params_listed(best.params))})"
        )
    if notes.get("importance"):
        mattered = ", ".join(f"{code(k)} ({v:.0%})" for k, v in notes["importance"].items())
        lines.append(f"**What mattered**: {mattered}")
    trial = of_trial(notes.get("champion"), None if best is None else best.number)
    if notes.get("holdout"):
        lines.append(f"**Hold-out**: {scores_listed(notes['holdout'])}{trial}")
    if notes.get("model"):
        model = notes["model"]
        lines.append(f"**Model**: {code(model['name'])} version {model['version']}{trial}")
    table = f"{notes['rows']} rows, {notes['columns']} columns"
    lines.append(f"**Data**: {code(spec['data'])}, target {code(spec['target'])}, {table}")
    return "\n".join(f"- {line}" for line in lines)


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

"""The note on a study's run: how far the search is, what is best, and what it learned."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from search.formatting import code, of_trial, params_listed, scores_listed
from storage.records import StudyState
from storage.studies.statistics import TrialStatistics

if TYPE_CHECKING:
    pass


def describe(notes: Mapping[str, Any], statistics: TrialStatistics, state: StudyState) -> str:
    """Return the note, in Markdown.

    Parameters
    ----------
    notes
        What is kept with the study in its database.
    """
    spec, counts = notes["spec"], statistics.counts
    shown = ", ".join(f"{n} {name}" for name, n in counts.items() if n) or "none yet"
    lines = [f"**{state}**: {statistics.finished} of {notes.get('goal')} trials finished ({shown})"]
    best = statistics.champion
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

"""A study in a few figures, made from Optuna's database alone: what `launch` and `show` print."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from search.formatting import of_trial
from search.study.notes import MirrorNote, read_notes
from storage.records import TrialRecord
from storage.studies.statistics import TrialStatistics
from storage.studies.study import Study

_PLACE = ("tracking_uri", "experiment_id", "run_id", "url", "view")


def of_another(summary: Mapping[str, Any]) -> str:
    """Say of which trial the champion is, where a better one was found since; else nothing."""
    best = summary["best"]
    champion = summary["champion"]
    return of_trial(champion and champion["trial"], best and best["number"])


def summarize(study: Study, trials: Sequence[TrialRecord] | None = None) -> dict[str, Any]:
    """Return the study as the JSON document that the command line promises.

    Parameters
    ----------
    trials
        The study's, where they are read already.
    """
    statistics = TrialStatistics(study.direction, study.trials() if trials is None else trials)
    notes = read_notes(study)
    model, champion = notes.model, notes.champion
    mirror = notes.mirror or MirrorNote()
    holder = study.lease()
    alive = holder is not None and holder.alive
    best = statistics.champion
    return {
        "study": study.name,
        "state": study.state(),
        "metric": study.metric,
        "direction": study.direction,
        "trials": statistics.counts | {"goal": notes.goal},
        "lease": {
            "owner": holder.owner,
            "host": holder.host,
            "pid": holder.pid,
            "expires": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(holder.expires)),
        }
        if holder is not None and alive
        else None,
        "best": best and {"number": best.number, "value": best.value, "params": dict(best.params)},
        "evaluation": notes.spec and notes.spec.evaluation,
        "covered": best and (1.0 if best.covered is None else best.covered),
        "champion": champion and {"trial": champion.trial, "trees": champion.trees},
        "holdout": notes.holdout,
        "model": model and {"name": model.name, "version": model.version},
        "mirror": {"runs": mirror.runs, "behind": mirror.behind},
        "mlflow": {key: getattr(mirror, key) for key in _PLACE},
        "seconds": notes.seconds.model_dump(),
    }

"""Compares studies: their data, scores, best hyperparameters and costs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from search.data.description import ROLES
from search.formatting import written
from search.report.summary import summarize
from search.study.notes import Identity, read_notes
from storage.addresses import StoreAddress
from storage.studies.study import Study


def compare_studies(studies: Sequence[Study]) -> dict[str, Any]:
    """Return the JSON document of `grovekeeper compare --json`.

    Returns
    -------
    summaries of the studies, the hyperparameters in which their best trials differ, and the
    conditions that differ if the scores cannot be compared
    """
    summaries = [summarize(study).model_dump() for study in studies]
    specs = [read_notes(study).spec for study in studies]
    conditions = [{} if spec is None else _conditions(spec) for spec in specs]
    for summary, spec in zip(summaries, specs, strict=True):
        data = None if spec is None else spec.description
        summary["data"] = {key: getattr(data, key, None) for key in ("source", "digest", "target")}
    each_condition = dict.fromkeys(name for one in conditions for name in one)
    apart = [name for name in each_condition if _differ([one.get(name) for one in conditions])]
    each_has = {key: [summary[key] for summary in summaries] for key in ("metric", "direction")}
    apart += [key for key, values in each_has.items() if key not in apart and _differ(values)]
    if None in specs and "data" not in apart:  # another program's data are unknown
        apart.insert(0, "data")
    found = [(summary["best"] or {}).get("params", {}) for summary in summaries]
    names = list(dict.fromkeys(name for params in found for name in params))
    each = {name: [written(p[name]) if name in p else None for p in found] for name in names}
    return {
        "studies": summaries,
        "comparable": not apart,
        "differ": apart,
        "params": {name: values for name, values in each.items() if _differ(values)},
        "mlflow": _link([summary["mlflow"] for summary in summaries]),
    }


def _conditions(spec: Identity) -> dict[str, Any]:
    """Return the conditions that comparable studies have in common, by their displayed names."""
    data = spec.description
    return {
        "data": data.digest,
        "target": data.target,
        "task": data.task,
        "metric": spec.metric,
        "share of held-out rows": data.holdout,
        "evaluation": spec.evaluation,
    } | {words: getattr(data, role) for role, words in ROLES.items()}


def _differ(values: Sequence[Any]) -> bool:
    return len({json.dumps(value, sort_keys=True) for value in values}) > 1


def _link(places: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the address of MLflow's comparison of the studies' runs, if all are in one store."""
    if len({place["tracking_uri"] for place in places}) > 1:
        return None
    runs = [place["run_id"] for place in places]
    experiments = list(dict.fromkeys(place["experiment_id"] for place in places))
    if None in runs:
        return None
    query = f"runs={quote(json.dumps(runs))}&experiments={quote(json.dumps(experiments))}"
    uri = str(places[0]["tracking_uri"])
    server = uri.rstrip("/") if StoreAddress(uri).is_server else ""
    return f"{server}/#/compare-runs?{query}"

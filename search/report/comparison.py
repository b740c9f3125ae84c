"""Compares studies: their data, scores, best hyperparameters and costs."""

import json
from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict

from search.data.description import LISTS, ROLES
from search.formatting import written
from search.report.summary import StudyPages, StudySummary, summarize
from search.study.notes import Identity, read_notes
from storage.addresses import StoreAddress
from storage.studies.study import Study


class ComparedData(BaseModel):
    """The table of a study; all fields are ``None`` if another program made the study."""

    model_config = ConfigDict(frozen=True)

    source: str | None = None
    digest: str | None = None
    target: str | None = None


class ComparedStudy(StudySummary):
    """The summary of a study, with the table that it learned from."""

    data: ComparedData


class Comparison(BaseModel):
    """The document that `compare` prints with ``--json``.

    Attributes
    ----------
    comparable
        Whether the scores can be compared.
    differ
        The conditions that differ, if the scores cannot be compared.
    params
        The hyperparameters in which the best trials differ, with one value per study; ``None`` if
        the best trial of a study does not have the hyperparameter.
    mlflow
        Address of MLflow's comparison of the studies' runs, without the host if MLflow is not a
        server; ``None`` if the runs are not all in one store.
    format_version
        Increased when a key changes its meaning or is removed, but not when a key is added.
    """

    model_config = ConfigDict(frozen=True)

    studies: list[ComparedStudy]
    comparable: bool
    differ: list[str]
    params: dict[str, list[Any]]
    mlflow: str | None
    format_version: Literal[1] = 1


def compare_studies(studies: Sequence[Study]) -> Comparison:
    """Compare studies, also those that other programs made."""
    specs = [read_notes(study).spec for study in studies]
    summaries = [_summarize(study, spec) for study, spec in zip(studies, specs, strict=True)]
    conditions = [{} if spec is None else _conditions(spec) for spec in specs]
    each_condition = dict.fromkeys(name for one in conditions for name in one)
    apart = [name for name in each_condition if _differ([one.get(name) for one in conditions])]
    each_has = {key: [getattr(one, key) for one in summaries] for key in ("metric", "direction")}
    apart += [key for key, values in each_has.items() if key not in apart and _differ(values)]
    if None in specs and "data" not in apart:  # another program's data are unknown
        apart.insert(0, "data")
    found = [{} if one.best is None else one.best.params for one in summaries]
    names = list(dict.fromkeys(name for params in found for name in params))
    each = {name: [written(p[name]) if name in p else None for p in found] for name in names}
    return Comparison(
        studies=summaries,
        comparable=not apart,
        differ=apart,
        params={name: values for name, values in each.items() if _differ(values)},
        mlflow=_link([one.mlflow for one in summaries]),
    )


def _summarize(study: Study, spec: Identity | None) -> ComparedStudy:
    data = ComparedData()
    if spec is not None:
        table = spec.description
        data = ComparedData(source=table.source, digest=table.digest, target=table.target)
    return ComparedStudy(**dict(summarize(study)), data=data)


def _conditions(spec: Identity) -> dict[str, Any]:
    """Return the conditions that comparable studies have in common, by their displayed names."""
    data = spec.description
    return {
        "data": data.digest,
        "target": data.target,
        "task": data.task,
        "positive class": data.positive,
        "metric": spec.metric,
        "share of held-out rows": data.holdout,
        "evaluation": spec.evaluation,
        # Rows are held out by the values of the other columns.
        LISTS["drop"]: data.drop,
    } | {words: getattr(data, role) for role, words in ROLES.items()}


def _differ(values: Sequence[Any]) -> bool:
    return len({json.dumps(value, sort_keys=True) for value in values}) > 1


def _link(places: Sequence[StudyPages]) -> str | None:
    """Return the address of MLflow's comparison of the studies' runs, if all are in one store."""
    if len({place.tracking_uri for place in places}) > 1:
        return None
    runs = [place.run_id for place in places]
    experiments = list(dict.fromkeys(place.experiment_id for place in places))
    if None in runs:
        return None
    query = f"runs={quote(json.dumps(runs))}&experiments={quote(json.dumps(experiments))}"
    uri = str(places[0].tracking_uri)
    server = uri.rstrip("/") if StoreAddress(uri).is_server else ""
    return f"{server}/#/compare-runs?{query}"

"""The invariants that the fault suite checks after a study has ended.

Optuna's database is read with plain SQL and MLflow with its client, not with the project's code.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy
from mlflow import MlflowClient

STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}


@dataclass(frozen=True)
class StoredTrial:
    """A trial as stored in Optuna's tables."""

    number: int
    state: str
    value: float | None
    params: Mapping[str, float]
    attributes: Mapping[str, Any]
    scores: Mapping[int, float]


@contextmanager
def connected(storage: str) -> Iterator[sqlalchemy.Connection]:
    """Connect to a database, and dispose of the engine."""
    engine = sqlalchemy.create_engine(storage)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def read_trials(storage: str, study: str) -> list[StoredTrial]:
    """Return all trials of a study, by number."""
    with connected(storage) as connection:

        def rows(query: str) -> list[Any]:
            return list(connection.execute(sqlalchemy.text(query), {"study": study}))

        below = "from {0} x join trials t using (trial_id) join studies s using (study_id)"
        below += " where s.study_name = :study"
        trials = rows(
            "select trial_id, number, state from trials join studies using (study_id) "
            "where study_name = :study order by number"
        )
        values = dict(rows("select trial_id, x.value " + below.format("trial_values")))
        params: dict[int, dict[str, float]] = {}
        for trial, name, value in rows(
            "select trial_id, param_name, param_value " + below.format("trial_params")
        ):
            params.setdefault(trial, {})[name] = value
        attributes: dict[int, dict[str, Any]] = {}
        for trial, name, text in rows(
            "select trial_id, key, value_json " + below.format("trial_user_attributes")
        ):
            attributes.setdefault(trial, {})[name] = json.loads(text)
        scores: dict[int, dict[int, float]] = {}
        for trial, step, score in rows(
            "select trial_id, step, intermediate_value " + below.format("trial_intermediate_values")
        ):
            scores.setdefault(trial, {})[step] = score
    return [
        StoredTrial(
            number,
            state,
            values.get(trial),
            params.get(trial, {}),
            attributes.get(trial, {}),
            scores.get(trial, {}),
        )
        for trial, number, state in trials
    ]


def note(storage: str, study: str, key: str) -> Any:
    """Return one of the notes on a study; ``None`` if it is missing."""
    query = sqlalchemy.text(
        "select value_json from study_user_attributes join studies using (study_id) "
        "where study_name = :study and key = :key"
    )
    with connected(storage) as connection:
        found = connection.execute(query, {"study": study, "key": f"grovekeeper:{key}"}).scalar()
    return None if found is None else json.loads(found)


def check(storage: str, tracking_uri: str, study: str, total: int, *, versions: int = 1) -> None:
    """Assert that no trial, run or version is lost or duplicated, and that no run is running."""
    trials = read_trials(storage, study)
    finished = [t for t in trials if t.state in {"COMPLETE", "PRUNED"}]
    assert len(finished) == total, [t.state for t in trials]
    assert [t.number for t in trials] == list(range(len(trials)))
    assert {t.state for t in trials} <= {"COMPLETE", "PRUNED", "FAIL"}
    places = [t.attributes.get("place", t.number) for t in finished]
    assert len(places) == len(set(places))
    _check_repeats(trials)
    _check_runs(storage, tracking_uri, study, trials)
    _check_versions(storage, tracking_uri, study, trials, versions)


def _check_repeats(trials: list[StoredTrial]) -> None:
    """Check that no lost trial was repeated twice, and that repetitions have its parameters."""
    for trial in trials:
        repeats = trial.attributes.get("repeats")
        if repeats is not None:
            lost = trials[repeats]
            assert lost.state == "FAIL"
            assert lost.params == trial.params
    repeated = [t.attributes["repeats"] for t in trials if "repeats" in t.attributes]
    assert len(repeated) == len(set(repeated))


def _check_runs(storage: str, tracking_uri: str, study: str, trials: list[StoredTrial]) -> None:
    client, uid = MlflowClient(tracking_uri), note(storage, study, "uid")
    spec = note(storage, study, "spec")
    metric, guide = spec["metric"], note(storage, study, "guide") or spec["metric"]
    runs = [
        run
        for experiment in client.search_experiments()
        for run in client.search_runs([experiment.experiment_id], max_results=5000)
        if run.data.tags.get("grovekeeper.study_uid") == uid
    ]
    (parent,) = [run for run in runs if run.data.tags["grovekeeper.kind"] == "study"]
    assert parent.info.status == "FINISHED"
    children = [run for run in runs if run is not parent]
    assert all(r.data.tags["mlflow.parentRunId"] == parent.info.run_id for r in children)
    numbers = sorted(int(run.data.tags["optuna.trial.number"]) for run in children)
    assert numbers == [trial.number for trial in trials]
    by_number = {int(run.data.tags["optuna.trial.number"]): run for run in children}
    for trial in trials:
        run = by_number[trial.number]
        assert run.info.status == STATUS[trial.state]
        assert run.data.tags["optuna.trial.state"] == trial.state
        assert run.info.end_time is not None
        for name, value in trial.params.items():
            shown = run.data.params[name]
            # Choices are stored by their index.
            if name not in {"splitter", "class_weight", "encoding"}:
                assert float(shown) == value
        for name in ("repeats", "copies"):
            there = trial.attributes.get(name)
            tag = run.data.tags.get(f"grovekeeper.{name}")
            assert tag == (None if there is None else str(there))
        curve = client.get_metric_history(run.info.run_id, guide) if trial.scores else []
        expected = dict(trial.scores)
        if trial.value is not None and guide == metric:
            expected[trial.attributes["n_estimators"]] = trial.value
        assert {p.step: p.value for p in curve} == expected
        assert len(curve) == len(expected)
        names = {guide} if expected else set()
        names |= set() if trial.value is None else {metric, "fit_seconds"}
        names |= {"rows", "model_bytes"} & set(trial.attributes)
        assert set(run.data.metrics) == names
        if trial.value is not None:
            assert math.isclose(run.data.metrics[metric], trial.value)
    for trial in trials:
        if "repeats" in trial.attributes:
            tags = by_number[trial.attributes["repeats"]].data.tags
            assert tags["grovekeeper.repeated_by"] == str(trial.number)


def _check_versions(
    storage: str, tracking_uri: str, study: str, trials: list[StoredTrial], versions: int
) -> None:
    client, uid = MlflowClient(tracking_uri), note(storage, study, "uid")
    found = [
        version
        for version in client.search_model_versions(max_results=1000)
        if version.tags.get("grovekeeper.study_uid") == uid
    ]
    assert len(found) == versions
    if versions == 1:
        complete = [t for t in trials if t.state == "COMPLETE" and t.value is not None]
        best = min(complete, key=lambda t: (t.value, t.number))
        assert found[0].tags["grovekeeper.trial"] == str(best.number)
        (model,) = re.findall(r"m-[0-9a-f]{32}", found[0].source)
        assert client.get_logged_model(model).status == "READY"

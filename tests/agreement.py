"""Checks that MLflow mirrors Optuna's database exactly, with one run per trial."""

from datetime import datetime

import optuna
from mlflow import MlflowClient
from mlflow.entities import Run

STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED", "RUNNING": "RUNNING"}


def assert_same_time(stamp: int | None, kept: datetime | None) -> None:
    """Compare a time of MLflow, in milliseconds, with one of Optuna, which has no time zone."""
    assert (stamp is None) == (kept is None)
    if stamp is not None and kept is not None:
        assert abs(stamp - kept.timestamp() * 1000) <= 1


def assert_agreement(storage: str, tracking_uri: str, study_name: str) -> Run:
    """Compare every trial with its run, and return the study's run."""
    database = optuna.storages.RDBStorage(storage)
    study = optuna.load_study(study_name=study_name, storage=database)
    metric = study.user_attrs["grovekeeper:spec"]["metric"]
    guide = study.user_attrs.get("grovekeeper:guide", metric)
    client = MlflowClient(tracking_uri)
    runs = [
        run
        for experiment in client.search_experiments()
        for run in client.search_runs([experiment.experiment_id], max_results=1000)
    ]
    (parent,) = [
        run
        for run in runs
        if run.data.tags.get("grovekeeper.kind") == "study"
        and run.data.tags["grovekeeper.study_uid"] == study.user_attrs["grovekeeper:uid"]
    ]
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    by_number = {int(run.data.tags["optuna.trial.number"]): run for run in children}
    assert len(children) == len(by_number) == len(study.trials)
    for trial in study.trials:
        run = by_number[trial.number]
        assert run.info.run_name == f"trial-{trial.number:04d}"
        assert run.info.status == STATUS[trial.state.name]
        assert run.data.tags["optuna.trial.state"] == trial.state.name
        assert {k: run.data.params[k] for k in trial.params} == {
            name: str(value) for name, value in trial.params.items()
        }
        curves = {guide: dict(trial.intermediate_values)}
        if trial.value is not None:
            trees = trial.user_attrs["n_estimators"]
            curves.setdefault(metric, {})[trees] = trial.value
            assert run.data.params["n_estimators"] == str(trees)
        # Interrupted trials have no value, but may have been scored. Attributes of a trial's end do
        # not count if its coordinator died before it had written all of them.
        shown = dict(trial.user_attrs)
        if trial.state.name == "FAIL":
            shown = {k: v for k, v in shown.items() if k not in {"n_estimators", "fit_seconds"}}
        last = shown.get("n_estimators", max(trial.intermediate_values, default=0))
        for name in ("fit_seconds", "rows", "model_bytes"):
            if name in shown:
                curves[name] = {last: shown[name]}
        expected = {name for name, curve in curves.items() if curve}
        assert set(run.data.metrics) == expected, (trial, run.data.metrics)
        for name, curve in curves.items():
            points = client.get_metric_history(run.info.run_id, name)
            assert len(points) == len(curve)
            assert {p.step: p.value for p in points} == curve
        copies = trial.user_attrs.get("copies")
        assert run.data.tags.get("grovekeeper.copies") == (None if copies is None else str(copies))
        assert_same_time(run.info.start_time, trial.datetime_start)
        assert_same_time(run.info.end_time, trial.datetime_complete)
    database.remove_session()
    database.engine.dispose()
    return parent

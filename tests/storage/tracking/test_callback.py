"""`MLflowMirror`: the cases of the tests of `MLflowCallback`, then its additional features."""

import itertools
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mlflow
import optuna
import pytest
from examples import close
from forks import Fork
from mlflow import MlflowClient
from mlflow.entities import Run
from optuna.trial import Trial

from storage import MLflowMirror
from storage.errors import DatabaseError, StorageError
from storage.studies.foreign import foreign_study, foreign_uid
from storage.tracking import callback
from storage.tracking.mirror import Mirror
from storage.tracking.runs import key_of

optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture
def uri(mlflow_file: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the address of an MLflow store that MLflow is configured to use, as in a script."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")  # `set_experiment` changes it permanently
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(mlflow_file)
    yield mlflow_file
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(before)
    mlflow.tracking.fluent._active_experiment_id = None


def objective(trial: Trial) -> float:
    """Return the value to minimise."""
    x = trial.suggest_float("x", -1.0, 1.0)
    y = trial.suggest_categorical("y", (-1.0, 1.0))
    trial.set_user_attr("colour", "green")
    return (x - 2) ** 2 + y


def two_values(trial: Trial) -> tuple[float, float]:
    value = objective(trial)
    return value, -value


def all_runs(uri: str, experiment: str) -> list[Run]:
    """Return the runs of an experiment sorted by name; the study's run comes first."""
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs = client.search_runs([found.experiment_id])
    return sorted(runs, key=lambda run: (run.data.tags["grovekeeper.kind"] == "trial", name(run)))


def name(run: Run) -> str:
    return str(run.info.run_name)


def optimized(
    uri: str | None,
    function: Callable[[Trial], Any] = objective,
    trials: int = 3,
    *,
    directions: Sequence[str] = ("minimize",),
    **options: Any,
) -> optuna.Study:
    study = optuna.create_study(study_name="houses", directions=directions)
    with MLflowMirror(uri, **options) as mirror:
        study.optimize(function, n_trials=trials, callbacks=[mirror])
    return study


def test_the_experiment_has_the_name_of_the_study_by_default(uri: str) -> None:
    optimized(uri)
    assert len(all_runs(uri, "houses")) == 4
    known = mlflow.create_experiment("known")
    optimized(uri, experiment="known")
    assert {run.info.experiment_id for run in all_runs(uri, "known")} == {known}


def test_the_default_store_is_mlflows_tracking_uri(uri: str) -> None:
    optimized(None)
    assert len(all_runs(uri, "houses")) == 4


@pytest.mark.slow
def test_several_optimizations_share_the_runs_of_a_study(uri: str) -> None:
    study = optuna.create_study(study_name="houses")
    for _ in range(2):
        with MLflowMirror(uri) as mirror:
            study.optimize(objective, n_trials=2, callbacks=[mirror])
    mirror = MLflowMirror(uri)
    for _ in range(2):
        study.optimize(objective, n_trials=1, callbacks=[mirror])
    mirror.close()
    study_run, *trials = all_runs(uri, "houses")
    assert [name(run) for run in trials] == [f"trial-000{number}" for number in range(6)]
    assert study_run.data.metrics["trials_complete"] == 6


def test_the_value_has_the_metric_name_set_in_optuna(uri: str) -> None:
    study = optuna.create_study(study_name="houses")
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        study.set_metric_names(["price"])
    with MLflowMirror(uri) as mirror:
        study.optimize(objective, n_trials=2, callbacks=[mirror])
    study_run, *trials = all_runs(uri, "houses")
    assert [run.data.metrics["price"] for run in trials] == [t.value for t in study.trials]
    assert study_run.data.metrics["best_price"] == study.best_value


@pytest.mark.slow
@pytest.mark.parametrize("names", [None, ["price", "age"]])
def test_each_of_several_values_has_its_own_metric(uri: str, names: list[str] | None) -> None:
    study = optuna.create_study(study_name="houses", directions=["minimize", "maximize"])
    if names:
        with pytest.warns(optuna.exceptions.ExperimentalWarning):
            study.set_metric_names(names)
    with MLflowMirror(uri) as mirror:
        study.optimize(two_values, n_trials=3, callbacks=[mirror])
    study_run, *trials = all_runs(uri, "houses")
    for run, trial in zip(trials, study.trials, strict=True):
        values = dict(zip(names or ["value_0", "value_1"], trial.values, strict=True))
        assert run.data.metrics == values
    assert study_run.data.params["direction"] == "minimize, maximize"
    assert not [key for key in study_run.data.metrics if key.startswith("best_")]


def test_a_trial_without_a_value_has_no_metric(uri: str) -> None:
    optimized(uri, lambda _: float("nan"), trials=1)
    (_, run) = all_runs(uri, "houses")
    assert (run.info.status, run.data.metrics) == ("FAILED", {})


def test_parameters_and_their_distributions_are_shown(uri: str) -> None:
    study = optimized(uri)
    study_run, *trials = all_runs(uri, "houses")
    for run, trial in zip(trials, study.trials, strict=True):
        assert run.data.params == {key: str(value) for key, value in trial.params.items()}
    distributions = study.best_trial.distributions
    assert {k: v for k, v in study_run.data.params.items() if k.startswith("space.")} == {
        f"space.{key}": str(value) for key, value in distributions.items()
    }


def test_attributes_are_tags_and_long_values_are_truncated(uri: str) -> None:
    study = optuna.create_study(study_name="houses")
    study.set_user_attr("team", ["red", "blue"])

    def noted(trial: Trial) -> float:
        trial.set_user_attr("numbers", str(list(range(5000))))
        trial.set_user_attr("grovekeeper.kind", "study")
        for place in range(250):
            trial.set_user_attr(f"note {place}", place)
        return objective(trial)

    with MLflowMirror(uri) as mirror:
        study.optimize(noted, n_trials=1, callbacks=[mirror])
    study_run, run = all_runs(uri, "houses")
    assert study_run.data.tags["team"] == "['red', 'blue']"
    assert run.data.tags["colour"] == "green"
    assert run.data.tags["numbers"].startswith("[0, 1, 2")
    assert run.data.tags["note 249"] == "249"
    assert run.data.tags["optuna.trial.state"] == "COMPLETE"


def test_trials_are_nested_under_a_given_run(uri: str) -> None:
    mlflow.set_experiment("mine")
    with mlflow.start_run(run_name="tuning", description="by hand") as parent:
        optimized(uri, study_run=parent.info.run_id)
        assert mlflow.active_run().info.run_id == parent.info.run_id  # type: ignore[union-attr]
        assert MlflowClient(uri).get_run(parent.info.run_id).info.status == "RUNNING"
    study_run, *trials = all_runs(uri, "mine")
    assert study_run.info.run_id == parent.info.run_id
    assert study_run.info.status == "FINISHED"
    assert study_run.data.tags["mlflow.note.content"] == "by hand"
    assert study_run.data.metrics["trials_complete"] == 3
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {parent.info.run_id}
    assert MlflowClient(uri).get_experiment_by_name("houses") is None


def test_an_active_run_is_not_changed(uri: str) -> None:
    with mlflow.start_run() as active:
        optimized(uri)
    run = MlflowClient(uri).get_run(active.info.run_id)
    assert (run.data.metrics, run.data.params, run.info.status) == ({}, {}, "FINISHED")
    assert len(all_runs(uri, "houses")) == 4


@pytest.mark.parametrize("jobs", [1, 4])
def test_each_trial_has_one_run_with_any_number_of_jobs(uri: str, jobs: int) -> None:
    study = optuna.create_study(study_name="houses")
    with MLflowMirror(uri) as mirror:
        study.optimize(objective, n_trials=5 * jobs, n_jobs=jobs, callbacks=[mirror])
    _, *trials = all_runs(uri, "houses")
    numbers = [run.data.tags["optuna.trial.number"] for run in trials]
    assert numbers == [str(trial.number) for trial in study.trials]
    assert [run.data.metrics["value"] for run in trials] == [t.value for t in study.trials]


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 4])
def test_a_tracked_objective_logs_to_its_trials_run(uri: str, jobs: int) -> None:
    study = optuna.create_study(study_name="houses")
    mirror = MLflowMirror(uri)

    @mirror.track
    def tracked(trial: Trial) -> float:
        """Return the value to minimise."""
        active = mlflow.active_run()
        assert active is not None
        run = MlflowClient(uri).get_run(active.info.run_id)
        assert (name(run), run.info.status) == (f"trial-{trial.number:04d}", "RUNNING")
        mlflow.log_metric("extra", trial.number)
        if trial.number == 1:
            raise optuna.TrialPruned
        return objective(trial)

    with mirror:
        study.optimize(tracked, n_trials=2 * jobs, n_jobs=jobs, callbacks=[mirror])
    _, *trials = all_runs(uri, "houses")
    assert [run.data.metrics["extra"] for run in trials] == list(range(2 * jobs))
    statuses = ["FINISHED"] * (2 * jobs)
    statuses[1] = "KILLED"
    assert [run.info.status for run in trials] == statuses
    assert all("value" in run.data.metrics for run in trials if run.info.status == "FINISHED")
    assert tracked.__doc__ == "Return the value to minimise."


def test_states_and_intermediate_values_are_shown(uri: str) -> None:
    def stepwise(trial: Trial) -> float:
        for step in (0, 10, 20):
            trial.report(step / 2 if step else float("nan"), step)
        if trial.number == 1:
            raise optuna.TrialPruned
        if trial.number == 2:
            raise ValueError
        return float("inf") if trial.number == 3 else objective(trial)

    study = optuna.create_study(study_name="houses")
    with MLflowMirror(uri) as mirror:
        study.optimize(stepwise, n_trials=4, callbacks=[mirror], catch=ValueError)
    _, *trials = all_runs(uri, "houses")
    statuses = ["FINISHED", "KILLED", "FAILED", "FINISHED"]
    assert [run.info.status for run in trials] == statuses
    for run, trial in zip(trials, study.trials, strict=True):
        points = MlflowClient(uri).get_metric_history(run.info.run_id, "intermediate_value")
        assert [point.step for point in points] == [0, 10, 20]
        assert [point.value for point in points][1:] == [5.0, 10.0]
        assert run.info.start_time == int(trial.datetime_start.timestamp() * 1000)  # type: ignore[union-attr]
        assert run.info.end_time == int(trial.datetime_complete.timestamp() * 1000)  # type: ignore[union-attr]


def test_names_that_mlflow_rejects_are_replaced(uri: str) -> None:
    odd = ["größe [m²]", "../x", "a//b", "n" * 300, "", ".", "%", "a`'\"b"]

    def oddly(trial: Trial) -> float:
        for place in odd:
            trial.set_user_attr(place, place)
        return sum(trial.suggest_float(place, 0, 1) for place in odd)

    study = optimized(uri, oddly)
    _, *trials = all_runs(uri, "houses")
    for run, trial in zip(trials, study.trials, strict=True):
        assert sorted(run.data.params.values()) == sorted(str(v) for v in trial.params.values())
        assert run.data.params[key_of("größe [m²]")] == str(trial.params["größe [m²]"])


def test_a_trial_that_ends_the_optimization_is_shown_when_the_mirror_closes(uri: str) -> None:
    def failing(trial: Trial) -> float:
        if trial.number == 2:
            raise ValueError("no such house")
        return objective(trial)

    with pytest.raises(ValueError, match="no such house"):
        optimized(uri, failing)
    study_run, *trials = all_runs(uri, "houses")
    assert [run.info.status for run in trials] == ["FINISHED", "FINISHED", "FAILED"]
    assert study_run.info.status == "FAILED"


def test_one_mirror_shows_one_study(uri: str) -> None:
    with MLflowMirror(uri) as mirror:
        optuna.create_study(study_name="houses").optimize(objective, 1, callbacks=[mirror])
        other = optuna.create_study(study_name="flats")
        with pytest.raises(StorageError, match="shows study 'houses'"):
            other.optimize(objective, 1, callbacks=[mirror])


def test_studies_with_the_same_name_have_separate_runs(uri: str) -> None:
    for _ in range(2):
        optimized(uri)
    kinds = [run.data.tags["grovekeeper.kind"] for run in all_runs(uri, "houses")]
    assert kinds == ["study"] * 2 + ["trial"] * 6


def test_an_outage_delays_the_runs_and_is_logged_once(
    uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    study = optuna.create_study(study_name="houses")
    with MLflowMirror(uri) as mirror:
        study.optimize(objective, n_trials=2, callbacks=[mirror])
        attempts, retried = itertools.count(1), threading.Event()

        def refuse(*_: Any, **__: Any) -> None:
            if next(attempts) == 2:  # the mirror knows of the first failure by now
                retried.set()
            raise ConnectionError("refused")

        with (
            patch("mlflow.MlflowClient.log_batch", refuse),
            caplog.at_level(logging.WARNING),
        ):
            study.optimize(objective, n_trials=2, callbacks=[mirror])
            assert retried.wait(30)
            study.optimize(objective, n_trials=5, callbacks=[mirror])
    assert len(caplog.records) == 1
    assert "refused" in caplog.text
    assert len(all_runs(uri, "houses")) == 10


def test_runs_that_could_not_be_written_are_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback, "_PATIENCE", 0.5)
    study = optimized("http://127.0.0.1:9")
    assert len(study.trials) == 3
    assert "MLflow is 4 runs behind" in caplog.text
    assert "grovekeeper sync houses" in caplog.text


def test_a_conflicting_active_experiment_is_an_error(uri: str) -> None:
    mlflow.set_experiment("tuning")
    study = optuna.create_study(study_name="houses")
    with (
        MLflowMirror(uri) as mirror,
        pytest.raises(StorageError, match=r"names another experiment .* MLflowMirror\(experiment"),
    ):
        study.optimize(mirror.track(objective), n_trials=1)
    with MLflowMirror(uri, experiment="tuning") as mirror:
        optuna.create_study(study_name="more").optimize(mirror.track(objective), n_trials=1)


def test_a_tracked_objective_needs_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callback, "_PATIENCE", 0.5)
    study = optuna.create_study()
    mirror = MLflowMirror("http://127.0.0.1:9")
    with mirror, pytest.raises(DatabaseError, match=r"127\.0\.0\.1:9"):
        study.optimize(mirror.track(objective), n_trials=1)


def test_a_concurrent_sync_keeps_the_runs_of_newer_trials(
    uri: str,
) -> None:
    study = optuna.create_study(study_name="houses")
    with MLflowMirror(uri) as mirror:
        study.optimize(objective, n_trials=3, callbacks=[mirror])
    other = Mirror(uri, "houses", shared=True)
    other.connect()
    record = foreign_study(study, foreign_uid(study), "running")
    other.adopt(record)
    with MLflowMirror(uri) as mirror:
        study.optimize(objective, n_trials=1, callbacks=[mirror])
    assert other.keep_only({0, 1, 2}) == 0
    assert len(all_runs(uri, "houses")) == 5


SCRIPT = """
import os
import optuna
from storage import MLflowMirror

study = optuna.load_study(study_name="houses", storage=os.environ["THEIRS"])
study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=8,
               callbacks=[MLflowMirror(os.environ["OURS"])])
"""


@pytest.mark.slow
def test_several_processes_share_the_runs_of_a_study_and_close_at_exit(
    uri: str, tmp_path: Path
) -> None:
    address = f"sqlite:///{tmp_path}/theirs.db"
    storage = optuna.storages.RDBStorage(address)
    study = optuna.create_study(study_name="houses", storage=storage)
    log, given = tmp_path / "log", {"THEIRS": address, "OURS": uri}
    scripts = [Fork(["-c", SCRIPT], tmp_path, log, program="python", **given) for _ in range(3)]
    assert [script.wait(120) for script in scripts] == [0, 0, 0], log.read_text()
    study_run, *trials = all_runs(uri, "houses")
    assert [run.data.tags["optuna.trial.number"] for run in trials] == [str(n) for n in range(24)]
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {study_run.info.run_id}
    values = [study.trials[n].value for n in range(24)]
    assert [run.data.metrics["value"] for run in trials] == values
    assert study_run.info.status == "FINISHED"
    assert study_run.data.metrics["trials_complete"] == 24
    close(storage)

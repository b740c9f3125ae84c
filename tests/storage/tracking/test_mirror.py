import dataclasses
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from examples import BEGIN, study_record, trial
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from storage.errors import DatabaseError, PermanentError
from storage.tracking import client as mlflow_client
from storage.tracking.failures import explain
from storage.tracking.mirror import Mirror
from storage.tracking.runs import Runs


@pytest.fixture
def experiment(request: pytest.FixtureRequest) -> str:
    return f"houses-{abs(hash(request.node.name))}"


@pytest.fixture
def mirror(tracking_uri: str, experiment: str) -> Iterator[Mirror]:
    mirror = Mirror(tracking_uri, experiment)
    mirror.connect()
    return mirror


def children(mirror: Mirror) -> list[Any]:
    runs = MlflowClient(mirror.tracking_uri).search_runs(
        [mirror.experiment_id], f"tags.`mlflow.parentRunId` = '{mirror.run_id}'"
    )
    return sorted(runs, key=lambda run: str(run.info.run_name))


def test_a_run_shows_the_rows_and_the_model_size_of_its_trial(mirror: Mirror) -> None:
    mirror.adopt(study_record())
    mirror.write_trial(dataclasses.replace(trial(0), rows=10_000, model_bytes=3 * 10**9))
    (run,) = children(mirror)
    assert (run.data.metrics["rows"], run.data.metrics["model_bytes"]) == (10_000, 3e9)


def test_a_trials_run_shows_its_record(mirror: Mirror) -> None:
    mirror.adopt(study_record())
    for record in (trial(0), trial(1, "PRUNED"), trial(2, "FAIL"), trial(3, "RUNNING")):
        mirror.write_trial(record)
    runs = children(mirror)
    assert [run.info.run_name for run in runs] == [f"trial-000{n}" for n in range(4)]
    statuses = [run.info.status for run in runs]
    assert statuses == ["FINISHED", "KILLED", "FAILED", "RUNNING"]
    first = runs[0]
    assert first.data.params == {"max_depth": "None", "max_features": "0.1", "n_estimators": "64"}
    assert first.data.metrics == {"rmse": 50.0, "fit_seconds": 0.5}
    history = MlflowClient(mirror.tracking_uri).get_metric_history(first.info.run_id, "rmse")
    assert {point.step: point.value for point in history} == {16: 51.0, 64: 50.0}
    assert first.data.tags["optuna.trial.number"] == "0"
    assert first.data.tags["optuna.trial.state"] == "COMPLETE"
    assert first.data.tags["grovekeeper.kind"] == "trial"
    assert first.data.tags["grovekeeper.study"] == "houses"
    assert runs[2].data.tags["grovekeeper.reason"] == "it broke"
    assert first.info.end_time - first.info.start_time == 60_000


def test_the_study_run_shows_spec_data_counts_and_best(mirror: Mirror) -> None:
    record = study_record()
    mirror.adopt(record)
    done = dataclasses.replace(
        record,
        state="finished",
        counts={"complete": 2, "pruned": 1},
        best=((0, 5.0), (2, 4.0)),
        holdout={"rmse": 4.5},
    )
    mirror.write_study(done)
    run = MlflowClient(mirror.tracking_uri).get_run(mirror.run_id)
    assert run.info.run_name == "houses"
    assert run.info.start_time == BEGIN.timestamp() * 1000
    assert run.info.status == "FINISHED"
    assert run.data.params == {"target": "price", "seed": "0"}
    assert run.data.metrics["best_rmse"] == 4.0
    assert run.data.metrics["holdout_rmse"] == 4.5
    assert run.data.metrics["trials_pruned"] == 1.0
    assert run.data.tags["mlflow.user"]
    dataset = run.inputs.dataset_inputs[0].dataset
    assert (dataset.name, dataset.digest) == ("houses", "d" * 32)
    mirror.write_study(dataclasses.replace(done, state="running"))
    assert MlflowClient(mirror.tracking_uri).get_run(mirror.run_id).info.status == "RUNNING"


def test_the_curve_shows_the_guide_score_and_the_value_the_metric(
    mirror: Mirror,
) -> None:
    mirror.adopt(study_record(metric="log_loss", guide="brier"))
    running = dataclasses.replace(trial(0, "RUNNING"), scores={16: 0.25})
    mirror.write_trial(running)
    mirror.write_trial(dataclasses.replace(trial(0, value=0.625), scores={16: 0.25, 64: 0.125}))
    (run,) = children(mirror)
    assert run.data.metrics == {"brier": 0.125, "log_loss": 0.625, "fit_seconds": 0.5}
    client = MlflowClient(mirror.tracking_uri)
    curve = client.get_metric_history(run.info.run_id, "brier")
    assert {point.step: point.value for point in curve} == {16: 0.25, 64: 0.125}
    (value,) = client.get_metric_history(run.info.run_id, "log_loss")
    assert (value.step, value.value) == (64, 0.625)


def test_the_run_of_a_copy_names_the_copied_trial(mirror: Mirror) -> None:
    mirror.adopt(study_record())
    mirror.write_trial(trial(0))
    mirror.write_trial(dataclasses.replace(trial(1), copies=0, fit_seconds=0.0))
    first, copy = children(mirror)
    assert "grovekeeper.copies" not in first.data.tags
    assert copy.data.tags["grovekeeper.copies"] == "0"
    assert copy.data.metrics["fit_seconds"] == 0.0


def test_each_improvement_is_a_point_in_the_study_run(mirror: Mirror) -> None:
    record = study_record()
    mirror.adopt(record)
    mirror.write_study(dataclasses.replace(record, best=((0, 5.0), (7, 4.0))))
    client = MlflowClient(mirror.tracking_uri)
    best = client.get_metric_history(mirror.run_id, "best_rmse")
    assert {point.step: point.value for point in best} == {0: 5.0, 7: 4.0}


def test_deleting_a_study_deletes_all_of_its_runs(mirror: Mirror) -> None:
    study = study_record()
    mirror.connect()
    mirror.adopt(study)
    for number in range(3):
        mirror.write_trial(trial(number))
    mirror._client.delete_run(mirror.run_id)  # a user deletes the parent run
    assert mirror.delete(study.uid, lambda: None) == 3
    assert mirror._client.search_runs([mirror.experiment_id]) == []
    mirror._client.delete_experiment(mirror.experiment_id)
    assert Mirror(mirror.tracking_uri, mirror._experiment).delete(study.uid, lambda: None) == 0


def test_throughput_points_in_the_study_run_are_not_overwritten(mirror: Mirror) -> None:
    study = dataclasses.replace(study_record(), throughput=((10, 120.5), (20, 130.0)))
    mirror.connect()
    mirror.adopt(study)
    mirror.write_study(study)
    points = mirror._client.get_metric_history(mirror.run_id, "trees_per_second")
    assert [(point.step, point.value) for point in points] == [(10, 120.5), (20, 130.0)]
    # A recount in another order may give other points: MLflow keeps the points that it shows.
    mirror.write_study(dataclasses.replace(study, throughput=((10, 99.0), (20, 130.0), (30, 1.0))))
    points = mirror._client.get_metric_history(mirror.run_id, "trees_per_second")
    assert [point.value for point in points] == [120.5, 130.0, 1.0]


def test_writing_a_trial_is_idempotent(mirror: Mirror) -> None:
    mirror.adopt(study_record())
    assert mirror.write_trial(trial(0))
    assert not mirror.write_trial(trial(0))
    assert len(children(mirror)) == 1


def test_a_running_trial_is_written_step_by_step(mirror: Mirror) -> None:
    mirror.adopt(study_record())
    running = dataclasses.replace(trial(0, "RUNNING"), scores={16: 51.0})
    mirror.write_trial(running)
    (run,) = children(mirror)
    assert (run.info.status, run.data.metrics) == ("RUNNING", {"rmse": 51.0})
    assert "n_estimators" not in run.data.params
    mirror.write_trial(trial(0))
    (run,) = children(mirror)
    assert (run.info.status, run.data.metrics["rmse"]) == ("FINISHED", 50.0)


def test_a_new_mirror_adopts_the_runs_of_an_earlier_one(
    mirror: Mirror, tracking_uri: str, experiment: str
) -> None:
    record = study_record()
    mirror.adopt(record)
    mirror.write_trial(trial(0))
    mirror.write_trial(dataclasses.replace(trial(1, "RUNNING"), scores={16: 50.0}))
    again = Mirror(tracking_uri, experiment)
    again.connect()
    again.adopt(record)
    assert again.run_id == mirror.run_id
    assert not again.write_trial(trial(0))
    assert again.write_trial(trial(1))
    assert again.write_trial(trial(2))
    runs = children(again)
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    history = MlflowClient(tracking_uri).get_metric_history(runs[1].info.run_id, "rmse")
    assert sorted(point.step for point in history) == [16, 64]


def test_adopting_reads_metrics_of_ended_runs_only_if_thorough(
    mirror: Mirror, tracking_uri: str, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = study_record()
    mirror.adopt(record)
    for number in range(3):
        mirror.write_trial(trial(number))
    mirror._client.log_metric(mirror._trials[0].run_id, "rmse", 1e6, step=16)  # a user changes it
    mirror._client.set_terminated(mirror._trials[1].run_id, "FAILED")
    asked: list[str] = []
    ask = MlflowClient.get_metric_history

    def count(self: MlflowClient, run_id: str, key: str) -> Any:
        asked.append(run_id)
        return ask(self, run_id, key)

    monkeypatch.setattr(MlflowClient, "get_metric_history", count)
    again = Mirror(tracking_uri, experiment)
    again.connect()
    again.adopt(record)
    assert {again.run_id} >= set(asked)
    assert [again.write_trial(trial(number)) for number in range(3)] == [False, True, False]
    assert children(again)[1].info.status == "FINISHED"
    again.adopt(record, thoroughly=True)
    assert [again.write_trial(trial(number)) for number in range(3)] == [True, False, False]


def test_studies_with_the_same_name_in_two_databases_do_not_mix(
    mirror: Mirror, tracking_uri: str, experiment: str
) -> None:
    mirror.adopt(study_record())
    mirror.write_trial(trial(0))
    other = Mirror(tracking_uri, experiment)
    other.connect()
    other.adopt(study_record())
    assert other.run_id != mirror.run_id
    assert children(other) == []


def test_a_lost_response_does_not_create_a_second_run(mirror: Mirror) -> None:
    mirror.adopt(study_record())
    create = MlflowClient.create_run

    def lose_the_response(*args: Any, **kwargs: Any) -> None:
        create(*args, **kwargs)
        raise MlflowException("connection reset")

    with (
        patch.object(MlflowClient, "create_run", lose_the_response),
        pytest.raises(MlflowException),
    ):
        mirror.write_trial(trial(0))
    mirror.write_trial(trial(0))
    assert len(children(mirror)) == 1
    assert children(mirror)[0].info.status == "FINISHED"


def second_run(mirror: Mirror, first: Any) -> str:
    """Create a run as a request would that succeeds after the client timed out."""
    client = MlflowClient(mirror.tracking_uri)
    run = client.create_run(mirror.experiment_id, tags=dict(first.data.tags))
    return str(run.info.run_id)


def test_a_duplicate_run_of_a_trial_is_deleted(mirror: Mirror) -> None:
    record = study_record()
    mirror.adopt(record)
    mirror.write_trial(trial(0))
    second_run(mirror, children(mirror)[0])
    assert len(children(mirror)) == 2
    mirror.adopt(record)
    mirror.write_trial(trial(0))
    (run,) = children(mirror)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["rmse"] == trial(0).value


def test_a_run_created_by_a_late_request_is_deleted_when_the_study_ends(mirror: Mirror) -> None:
    record = study_record()
    mirror.adopt(record)
    with (
        patch.object(MlflowClient, "create_run", side_effect=MlflowException("timed out")),
        pytest.raises(MlflowException),
    ):
        mirror.write_trial(trial(0))
    mirror.write_trial(trial(0))
    second_run(mirror, children(mirror)[0])
    mirror.write_study(record)
    assert len(children(mirror)) == 2
    mirror.write_study(dataclasses.replace(record, state="finished"))
    (run,) = children(mirror)
    assert run.data.metrics["rmse"] == trial(0).value


def test_a_duplicate_run_of_a_study_is_deleted_and_its_trials_are_moved(mirror: Mirror) -> None:
    record = study_record()
    mirror.adopt(record)
    mirror.write_trial(trial(0))
    client, first = MlflowClient(mirror.tracking_uri), mirror.run_id
    second = second_run(mirror, client.get_run(first))
    for child in children(mirror):
        client.set_tag(child.info.run_id, "mlflow.parentRunId", second)
        client.set_tag(second_run(mirror, child), "mlflow.parentRunId", first)
    mirror.adopt(record)
    (gone,) = {first, second} - {mirror.run_id}
    assert client.get_run(gone).info.lifecycle_stage == "deleted"
    (run,) = children(mirror)
    assert run.data.tags["optuna.trial.number"] == "0"
    assert len(client.search_runs([mirror.experiment_id])) == 2


def test_runs_of_removed_trials_are_deleted_and_unrelated_runs_are_kept(mirror: Mirror) -> None:
    mirror.adopt(study_record())
    for number in range(3):
        mirror.write_trial(trial(number))
    client = MlflowClient(mirror.tracking_uri)
    alone = client.create_run(mirror.experiment_id).info.run_id
    below = {"mlflow.parentRunId": mirror.run_id}
    nested = client.create_run(mirror.experiment_id, tags=below).info.run_id
    assert mirror.keep_only({0, 2}) == 1
    assert [run.info.run_name for run in children(mirror) if run.info.run_id != nested] == [
        "trial-0000",
        "trial-0002",
    ]
    for run_id in (alone, nested, mirror.run_id):
        assert client.get_run(run_id).info.lifecycle_stage == "active"


def test_a_run_that_a_user_deleted_is_created_again(mirror: Mirror) -> None:
    mirror.adopt(study_record())
    mirror.write_trial(trial(0, "RUNNING"))
    MlflowClient(mirror.tracking_uri).delete_run(children(mirror)[0].info.run_id)
    with pytest.raises(MlflowException):
        mirror.write_trial(trial(0))
    mirror.write_trial(trial(0))
    (run,) = children(mirror)
    assert run.info.status == "FINISHED"


def test_a_renamed_experiment_is_found_by_the_runs_of_the_study(
    mirror: Mirror, tracking_uri: str, experiment: str, caplog: pytest.LogCaptureFixture
) -> None:
    record = study_record()
    mirror.adopt(record)
    mirror.write_trial(trial(0))
    client, name = MlflowClient(tracking_uri), f"{experiment}-renamed"
    client.rename_experiment(mirror.experiment_id, name)
    client.create_experiment(experiment)  # another one takes the name
    caplog.set_level("INFO")
    again = Mirror(tracking_uri, experiment, uid=record.uid)
    again.connect()
    again.adopt(record)
    assert (again.experiment_id, again.run_id) == (mirror.experiment_id, mirror.run_id)
    assert not again.write_trial(trial(0))
    ours = [one.getMessage() for one in caplog.records if one.name.startswith("storage")]
    assert ours == [
        f"the study's runs are in the experiment '{name}', not in '{experiment}': they stay there"
    ]
    assert Mirror(tracking_uri, experiment).delete(record.uid, lambda: None) == 2


def delete(client: MlflowClient, mirror: Mirror, what: str) -> None:
    if what == "run":
        client.delete_run(mirror.run_id)
    else:
        client.delete_experiment(mirror.experiment_id)


@pytest.mark.parametrize("what", ["run", "experiment"])
def test_a_deleted_run_or_experiment_is_an_error_until_it_is_restored(
    mirror: Mirror, tracking_uri: str, experiment: str, what: str
) -> None:
    record = study_record()
    mirror.adopt(record)
    mirror.write_trial(trial(0))
    client = MlflowClient(tracking_uri)
    delete(client, mirror, what)
    named = "the run of study 'houses'" if what == "run" else f"the experiment '{experiment}'"
    says = f"{named} was deleted in MLflow: `grovekeeper sync houses --restore` restores it"
    again = Mirror(tracking_uri, experiment, uid=record.uid)
    for act in (mirror.check_active, again.connect, lambda: again.adopt(record)):
        with pytest.raises(PermanentError, match=re.escape(says)):
            act()
    assert len(client.search_runs([mirror.experiment_id])) == (what == "run")
    Mirror(tracking_uri, experiment, uid=record.uid, restore=True).connect()
    mirror.check_active()
    mirror.write_study(dataclasses.replace(record, state="finished"))
    again.connect()
    again.adopt(record)
    assert again.run_id == mirror.run_id
    assert len(children(mirror)) == 1
    delete(client, mirror, what)
    restoring = Mirror(tracking_uri, experiment, restore=True)
    restoring.connect()
    restoring.adopt(record)
    assert restoring.run_id == mirror.run_id


def test_metrics_whose_response_was_lost_are_written_once(mirror: Mirror) -> None:
    mirror.adopt(study_record())
    running = dataclasses.replace(trial(0, "RUNNING"), scores={16: 51.0})
    write = MlflowClient.log_batch

    def lose_the_response(*args: Any, **kwargs: Any) -> None:
        write(*args, **kwargs)
        raise MlflowException("connection reset")

    with (
        patch.object(MlflowClient, "log_batch", lose_the_response),
        pytest.raises(MlflowException),
    ):
        mirror.write_trial(running)
    mirror.write_trial(running)
    mirror.write_trial(trial(0))
    (run,) = children(mirror)
    history = MlflowClient(mirror.tracking_uri).get_metric_history(run.info.run_id, "rmse")
    assert sorted((point.step, point.value) for point in history) == [(16, 51.0), (64, 50.0)]


def test_a_failed_trial_and_its_repetition_name_each_other(mirror: Mirror) -> None:
    record = study_record()
    mirror.adopt(record)
    mirror.write_trial(trial(0, "FAIL"))
    mirror.write_trial(dataclasses.replace(trial(1), repeats=0))
    failed, again = children(mirror)
    assert again.data.tags["grovekeeper.repeats"] == "0"
    assert failed.data.tags["grovekeeper.repeated_by"] == "1"
    mirror.adopt(record)
    assert not mirror.write_trial(trial(0, "FAIL"))
    assert not mirror.write_trial(dataclasses.replace(trial(1), repeats=0))


def test_all_pages_of_runs_are_read(mirror: Mirror) -> None:
    mirror.adopt(study_record())
    for number in range(5):
        mirror.write_trial(trial(number))
    runs = Runs(MlflowClient(mirror.tracking_uri), mirror.experiment_id, page_size=2)
    assert len({run.info.run_id for run in runs.search("")}) == 6  # the trials and the study


def test_a_deleted_experiment_is_an_error(
    mirror: Mirror, tracking_uri: str, experiment: str
) -> None:
    mirror.adopt(study_record())
    MlflowClient(tracking_uri).delete_experiment(mirror.experiment_id)
    with pytest.raises(DatabaseError, match="was deleted in MLflow"):
        Mirror(tracking_uri, experiment).connect()


def test_a_server_that_does_not_answer_is_an_error() -> None:
    with pytest.raises(DatabaseError, match="does not answer"):
        mlflow_client.check("http://127.0.0.1:9")


def test_the_error_on_an_older_schema_names_the_upgrade_command(
    mlflow_file: str, tmp_path: Path
) -> None:
    uri = mlflow_file
    connection = sqlite3.connect(tmp_path / "mlflow.db")
    connection.execute("update alembic_version set version_num = '451aebb31d03'")
    connection.commit()
    connection.close()
    with pytest.raises(MlflowException) as error:
        Mirror(uri, "houses").connect()
    assert f"run `mlflow db upgrade {uri}`" in str(explain(uri, error.value))


@pytest.mark.slow
def test_a_store_whose_creation_was_killed_is_created_by_the_next_process(tmp_path: Path) -> None:
    uri, half = f"sqlite:///{tmp_path}/new.db", tmp_path / "new.db.half"
    code = f"from storage.tracking import client; client.connect({uri!r})"
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as maker:
        deadline = time.monotonic() + 120
        while not half.exists() or not half.stat().st_size:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        maker.kill()
    assert not (tmp_path / "new.db").exists()
    assert mlflow_client.connect(uri).search_experiments()
    assert not half.exists()


@pytest.mark.slow
def test_several_processes_create_a_new_store_at_the_same_time(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new.db"
    script = f"from storage.tracking.mirror import Mirror; Mirror({uri!r}, 'houses').connect()"
    makers = [
        subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [maker.communicate(timeout=120)[1] for maker in makers]
    assert [maker.returncode for maker in makers] == [0, 0], said


_FAILS_ONCE = """
import sys

class Once:
    failed = False
    def find_spec(self, name, path=None, target=None):
        if name == "mlflow.entities" and not self.failed:
            self.failed = True
            raise RuntimeError("two threads import at once")

sys.meta_path.insert(0, Once())
from storage.tracking import client as mlflow_client
from storage.tracking.failures import explain
from storage.tracking.mirror import Mirror
try:
    import mlflow
except RuntimeError:
    print("failed")
mirror = Mirror(sys.argv[1], "houses")
mirror.connect()
print(mirror._client.get_experiment("0").name)
"""


@pytest.mark.slow
def test_mlflow_whose_import_failed_is_imported_again(mlflow_file: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FAILS_ONCE, mlflow_file],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "failed\nDefault\n"), done.stderr

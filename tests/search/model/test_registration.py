"""Registration: errors that no retry mends are raised at once, and say what to do."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from http_servers import artifact_server
from mlflow import MlflowClient
from shop import table

from search import StudySpec, launch
from search.errors import StudyError
from search.model.registration import Registration
from storage.errors import StorageError
from storage.records import StudyRecord
from storage.tracking.mirror import Mirror

# A part of the warning about retries, which go on for a minute and are logged after two seconds.
RETRIED = "trying again"


def test_a_deleted_run_ends_the_registration_at_once(
    mlflow_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    mirror = Mirror(mlflow_file, "houses")
    mirror.connect()
    now = datetime.now(UTC)
    mirror.adopt(StudyRecord("houses", "abc", "rmse", "rmse", "running", {}, None, now))
    MlflowClient(mlflow_file).delete_run(mirror.run_id)
    registration = Registration(cast("Any", None), "abc", mirror, lambda: None)
    with pytest.raises(StudyError) as raised:
        registration.find(0, 10)
    assert RETRIED not in caplog.text
    assert str(raised.value) == (
        "the champion is not registered: the run of study 'houses' was deleted in MLflow: "
        "`grovekeeper sync houses --restore` restores it. Launch again to register it"
    )


def spec_of(trials: int = 1, **more: Any) -> StudySpec:
    asked: dict[str, Any] = {"data": table(80), "target": "price", "study": "houses", "workers": 1}
    return StudySpec(**asked, trials=trials, trees=10, **more)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*Any type hint")  # when MLflow's models are imported
def test_a_model_that_is_too_large_is_said_at_once(
    tmp_path: Path, mlflow_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    stores = {"storage": f"sqlite:///{tmp_path}/optuna.db", "tracking_uri": mlflow_file}
    with artifact_server(limit=5_000) as server:
        MlflowClient(mlflow_file).create_experiment("houses", server.location)
        with pytest.raises(StudyError, match=r"rejects a file of .* MB .* fewer --trees"):
            launch(spec_of(), **stores)
        assert RETRIED not in caplog.text
        assert len(server.sent) == len({*server.sent})
        server.limit = 10**9
        assert launch(spec_of(), **stores).summary["model"] == {"name": "houses", "version": 1}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*Any type hint")  # when MLflow's models are imported
def test_a_launch_whose_artifacts_cannot_be_stored_ends_before_the_search(
    tmp_path: Path, mlflow_file: str
) -> None:
    stores = {"storage": f"sqlite:///{tmp_path}/optuna.db", "tracking_uri": mlflow_file}
    MlflowClient(mlflow_file).create_experiment("houses", f"{tmp_path}/gone/mlruns/1")
    with pytest.raises(StorageError, match="there is no folder"):
        launch(spec_of(), **stores)
    assert not (tmp_path / "gone").exists()
    assert not (tmp_path / "optuna.db").exists()
    launch(spec_of(experiment="others"), **stores)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*Any type hint")  # when MLflow's models are imported
def test_a_launch_finds_a_renamed_experiment_and_restores_a_deleted_one(
    tmp_path: Path, mlflow_file: str
) -> None:
    stores = {"storage": f"sqlite:///{tmp_path}/optuna.db", "tracking_uri": mlflow_file}
    place = launch(spec_of(), **stores).summary["mlflow"]["experiment_id"]
    client = MlflowClient(mlflow_file)
    client.rename_experiment(place, "homes")
    launch(spec_of(trials=2), **stores)
    assert [one.name for one in client.search_experiments()] == ["homes", "Default"]
    assert len(client.search_runs([place])) == 1 + 2
    client.delete_experiment(place)
    with pytest.raises(StorageError, match=r"the experiment 'homes' was deleted .* --restore"):
        launch(spec_of(trials=3), **stores)
    launch(spec_of(trials=3, restore=True), **stores)
    assert len(client.search_runs([place])) == 1 + 3

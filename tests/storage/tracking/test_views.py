"""The view of a study, which a tag of the experiment stores for MLflow's UI."""

import base64
import json
import zlib
from dataclasses import replace
from typing import Any

import mlflow
import pytest
from examples import study_record
from mlflow import MlflowClient

from storage.records import StudyRecord
from storage.tracking import views
from storage.tracking.mirror import Mirror

_TAG = "mlflow.sharedViewState.grovekeeper-"


@pytest.fixture
def mirror(tracking_uri: str, name: str) -> Mirror:
    mirror = Mirror(tracking_uri, name)
    mirror.connect()
    return mirror


@pytest.fixture
def study() -> StudyRecord:
    names = ("splitter", "max_features", "min_samples_leaf")
    return replace(study_record(), metric="r2", direction="maximize", hyperparameters=names)


def tags(mirror: Mirror) -> dict[str, str]:
    experiment = MlflowClient(mirror.tracking_uri).get_experiment(mirror.experiment_id)
    return dict(experiment.tags)


def state(mirror: Mirror, study: StudyRecord) -> dict[str, Any]:
    view = json.loads(tags(mirror)[_TAG + study.uid])
    assert view["name"] == study.name
    packed = view["state"].removeprefix("deflate;")
    found: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return found


def test_the_view_shows_only_trials_and_the_best_first(mirror: Mirror, study: StudyRecord) -> None:
    mirror.adopt(study)
    found = state(mirror, study)
    assert study.uid in found["searchFilter"]
    assert "= 'trial'" in found["searchFilter"]
    assert (found["orderByKey"], found["orderByAsc"]) == ("metrics.`r2`", False)
    shown = {"metrics.`r2`", "tags.`optuna.trial.state`", "params.`n_estimators`"}
    shown |= {f"params.`{name}`" for name in study.hyperparameters}
    assert shown <= set(found["selectedColumns"])
    found_charts = [chart["type"] for chart in found["compareRunCharts"]]
    assert found_charts == ["LINE", "PARALLEL", "SCATTER", "SCATTER"]


def test_a_view_that_users_edited_is_kept(mirror: Mirror, study: StudyRecord) -> None:
    mirror.adopt(study)
    client = MlflowClient(mirror.tracking_uri)
    client.set_experiment_tag(mirror.experiment_id, _TAG + study.uid, "theirs")
    mirror.adopt(study)
    assert tags(mirror)[_TAG + study.uid] == "theirs"


def test_each_study_of_an_experiment_has_its_own_view(mirror: Mirror, study: StudyRecord) -> None:
    mirror.adopt(study)
    mirror.adopt(replace(study, uid="another"))
    assert len([tag for tag in tags(mirror) if tag.startswith(_TAG)]) == 2


def test_an_unknown_mlflow_version_gets_no_view_and_the_study_continues(
    tracking_uri: str,
    name: str,
    study: StudyRecord,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    mirror = Mirror(tracking_uri, name)
    mirror.connect()
    monkeypatch.setattr(mlflow, "__version__", "4.0.0")
    mirror.adopt(study)
    assert not [tag for tag in tags(mirror) if tag.startswith(_TAG)]
    assert len([one for one in caplog.records if one.name.startswith("storage")]) == 1
    assert mirror.run_id


def test_the_url_of_a_view_contains_server_experiment_and_study() -> None:
    page = views.page("http://host:5000/", "7", "abc", charts=True)
    assert page.startswith("http://host:5000/#/experiments/7/runs?")
    assert "viewStateShareKey=grovekeeper-abc" in page
    assert "compareRunsMode=CHART" in page

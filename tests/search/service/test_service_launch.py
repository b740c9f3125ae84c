"""A launch that continues an earlier one."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from mlflow import MlflowClient
from shop import table

from search import StudySpec, launch
from search.service.launch import _Launch
from storage.records import TrialRecord


def test_a_study_stays_in_its_experiment(
    tmp_path: Path, mlflow_file: str, capfd: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {"data": table(80), "target": "price", "study": "houses"}
    asked |= {"register": False, "workers": 1}
    stores = {"storage": f"sqlite:///{tmp_path}/optuna.db", "tracking_uri": mlflow_file}
    launch(StudySpec(**asked, experiment="team", trials=2), **stores)
    capfd.readouterr()
    launch(StudySpec(**asked, trials=3), **stores)
    assert "the study's runs are in the experiment 'team': it stays there" in capfd.readouterr()[1]
    client = MlflowClient(mlflow_file)
    places = {one.name: one.experiment_id for one in client.search_experiments()}
    assert "houses" not in places
    assert len(client.search_runs([places["team"]])) == 1 + 3


def test_trials_left_running_by_a_dead_coordinator_are_mirrored_only_after_they_were_ended() -> (
    None
):
    handed: list[TrialRecord] = []
    known = [TrialRecord(0, "COMPLETE", {}, value=1.0), TrialRecord(1, "RUNNING", {})]
    mirror_writer = SimpleNamespace(put_trial=handed.append)
    left = SimpleNamespace(_known=known, _record=lambda: None, _mirror_writer=mirror_writer)
    _Launch._open_mirror(cast("Any", left))
    assert handed == known[:1]

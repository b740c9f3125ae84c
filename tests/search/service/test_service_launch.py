"""A launch that continues an earlier one."""

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from mlflow import MlflowClient
from shop import table

from search import StudySpec, launch
from search.errors import StudyError
from search.model.export import as_python
from search.monitoring.observer import NeverStops
from search.monitoring.status import SearchStatus
from search.service.launch import _Launch
from search.service.launch import launch as run_launch
from search.stores import Stores
from storage.records import TrialRecord
from storage.studies.study import StudyBook


@pytest.mark.slow
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


class Phases:
    """An observer that keeps what a launch does."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def begin(self, status: SearchStatus) -> None:
        self._status = status

    def changed(self) -> None:
        self.seen.append(self._status.doing)

    def mirrored(self, summary: Mapping[str, Any]) -> None:
        pass

    def end(self) -> None:
        pass


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*Any type hint")  # when MLflow's models are imported
def test_a_launch_shows_the_trees_of_the_champion_and_its_registration(
    tmp_path: Path, mlflow_file: str
) -> None:
    asked: dict[str, Any] = {"data": table(80), "target": "price", "trials": 1, "trees": 10}
    stores, phases = Stores(f"sqlite:///{tmp_path}/optuna.db", mlflow_file), Phases()
    run_launch(StudySpec(**asked, workers=1), stores, phases, NeverStops())
    steps = [phase for phase, _ in groupby(phases.seen)]
    assert steps[0] == "searching"
    assert steps[-3] == "making the champion, 10 of 10 trees"
    assert steps[-2] == "examining the champion on the held-out rows"
    assert re.fullmatch(r"registering the model, [\d.]+ kB in memory", steps[-1])


@pytest.mark.slow
def test_a_launch_chooses_a_smaller_champion_and_says_so(
    tmp_path: Path,
    mlflow_file: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("search.study.choice.SMALL", 0)
    asked: dict[str, Any] = {"data": table(80), "target": "price", "study": "houses", "trials": 2}
    asked |= {"register": False, "workers": 1}
    storage = f"sqlite:///{tmp_path}/optuna.db"
    stores = {"storage": storage, "tracking_uri": mlflow_file}
    number = launch(StudySpec(**asked, champion="best"), **stores).summary["best"]["number"]
    study = StudyBook(storage).open("houses")
    best = study.trials()[number]
    assert best.model_bytes is not None
    smaller = replace(best, number=2, place=2, model_bytes=1000)
    study.enter_trial(smaller, study.optuna.trials[number].distributions)
    capfd.readouterr()
    summary = launch(StudySpec(**asked), **stores).summary
    assert summary["best"]["number"] == number
    assert (summary["champion"]["trial"], summary["champion"]["outdated"]) == (2, False)
    said = f"champion: trial 2 (1 kB) instead of the best trial {number}"
    assert said in capfd.readouterr()[1]
    assert as_python(study).startswith("# Study houses, trial 2:")
    summary = launch(StudySpec(**asked, champion="best"), **stores).summary
    assert (summary["champion"]["trial"], summary["champion"]["outdated"]) == (number, False)
    assert as_python(study).startswith(f"# Study houses, trial {number}:")
    study.book.rdb.remove_session()
    study.book.rdb.engine.dispose()


# MLflow warns about its own type hint when it is imported.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*AnyType")
def test_a_champion_has_fewer_trees_if_not_all_fit_into_memory_unless_they_were_requested(
    tmp_path: Path,
    mlflow_file: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {"data": table(80), "target": "price", "study": "houses", "trials": 1}
    asked |= {"workers": 1, "holdout": 0}
    storage = f"sqlite:///{tmp_path}/optuna.db"
    stores = {"storage": storage, "tracking_uri": mlflow_file}
    monkeypatch.setattr("search.model.champion.free_memory", lambda: 10**6)
    summary = launch(StudySpec(**asked), **stores).summary
    trees = summary["champion"]["trees"]
    assert 1 <= trees < 100
    assert f"champion: {trees} instead of 1" in capfd.readouterr()[1]
    monkeypatch.setattr("search.model.champion.free_memory", lambda: 1_300_000)
    again = launch(StudySpec(**asked), **stores).summary
    assert again["model"] == summary["model"]
    with pytest.raises(StudyError, match=r"a champion of 500 trees takes .* --trees \d+"):
        launch(StudySpec(**asked, trees=500), **stores)


def test_trials_left_running_by_a_dead_coordinator_are_mirrored_only_after_they_were_ended() -> (
    None
):
    handed: list[TrialRecord] = []
    known = [TrialRecord(0, "COMPLETE", {}, value=1.0), TrialRecord(1, "RUNNING", {})]
    mirror_writer = SimpleNamespace(put_trial=handed.append)
    left = SimpleNamespace(_known=known, _record=lambda: None, _mirror_writer=mirror_writer)
    _Launch._open_mirror(cast("Any", left))
    assert handed == known[:1]

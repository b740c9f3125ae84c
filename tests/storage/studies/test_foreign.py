"""Records and ids of studies that other programs created."""

import time
from pathlib import Path

import optuna
import pytest

from storage.studies.foreign import foreign_study, foreign_uid
from storage.studies.statistics import TrialStatistics
from storage.studies.trials import plain_record_of


def test_infeasible_trials_are_not_the_best() -> None:
    study = optuna.create_study(study_name="theirs")
    for value, broken in ((1.0, 1.0), (2.0, -1.0), (3.0, 0.0)):
        study.add_trial(optuna.trial.create_trial(value=value, constraints={"weight": broken}))
    assert study.best_value == 2.0
    assert [value for _, value in foreign_study(study, "uid", "finished").best] == [2.0]
    records = [plain_record_of(trial) for trial in study.trials]
    assert [record.feasible for record in records] == [False, True, True]
    champion = TrialStatistics("minimize", records).champion
    assert champion is not None
    assert champion.value == 2.0


def test_the_id_of_a_foreign_study_does_not_depend_on_the_time_zone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/theirs.db")
    study = optuna.create_study(study_name="theirs", storage=storage)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    found = set()
    for zone in ("UTC", "America/New_York", "Asia/Kolkata"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        again = optuna.load_study(study_name="theirs", storage=storage)
        found.add(foreign_uid(again))
    monkeypatch.undo()
    time.tzset()
    storage.remove_session()
    storage.engine.dispose()
    assert len(found) == 1

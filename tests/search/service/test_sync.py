"""`sync` and `delete` while other coordinators take and lose the lease."""

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from settled import settle

from search.service import deletion, sync
from search.study.notes import StudyNotes
from storage.errors import LeaseLostError
from storage.records import TrialRecord
from storage.studies.study import StudyBook


def test_sync_reads_the_study_after_it_has_acquired_the_lease(
    tmp_path: Path, mlflow_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = StudyBook(f"sqlite:///{tmp_path}/optuna.db", create=True)
    study = book.make("houses", "minimize")
    settle(study, state="running")
    study.enter_trial(TrialRecord(0, "COMPLETE", {}, value=3.0), {})
    lease = sync.Lease

    def take(*asked: Any) -> Any:
        study.write(StudyNotes(state="finished"))
        study.write(StudyNotes(holdout={"rmse": 2.0}))
        return lease(*asked)

    monkeypatch.setattr(sync, "Lease", take)
    assert sync.sync(study, mlflow_file).runs == 1
    client = MlflowClient(mlflow_file)
    found = client.search_runs(
        [client.get_experiment_by_name("houses").experiment_id],
        "tags.`grovekeeper.kind` = 'study'",
    )
    assert [run.info.status for run in found] == ["FINISHED"]
    assert found[0].data.metrics["holdout_rmse"] == 2.0
    book.rdb.remove_session()
    book.rdb.engine.dispose()


@pytest.mark.parametrize("act", [sync.sync, deletion.delete])
def test_after_losing_the_lease_nothing_changes_in_mlflow(
    act: Any, tmp_path: Path, mlflow_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = StudyBook(f"sqlite:///{tmp_path}/optuna.db", create=True)
    study = book.make("houses", "minimize")
    settle(study, state="finished")
    study.enter_trial(TrialRecord(0, "COMPLETE", {}, value=3.0), {})
    sync.sync(study, mlflow_file)
    study.enter_trial(TrialRecord(1, "COMPLETE", {}, value=2.0), {})

    def lost(_: Any) -> None:
        raise LeaseLostError("the lease was lost to another coordinator")

    monkeypatch.setattr("storage.leases.lease.Lease.check", lost)
    with pytest.raises(LeaseLostError):
        act(study, mlflow_file)
    client = MlflowClient(mlflow_file)
    experiment = client.get_experiment_by_name("houses").experiment_id
    assert len(client.search_runs([experiment])) == 2
    book.rdb.remove_session()
    book.rdb.engine.dispose()

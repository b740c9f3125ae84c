import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from examples import study_record, trial
from mlflow import MlflowClient

from storage.errors import DatabaseError, PermanentError
from storage.records import StudyRecord, TrialRecord
from storage.tracking.mirror import Mirror
from storage.tracking.mirror_writer import MirrorWriter


def open_mirror_writer(tracking_uri: str) -> MirrorWriter:
    return MirrorWriter(Mirror(tracking_uri, "houses"))


def test_close_writes_all_queued_records(mlflow_file: str) -> None:
    mirror_writer = open_mirror_writer(mlflow_file)
    mirror_writer.put_study(study_record())
    for number in range(20):
        mirror_writer.put_trial(trial(number, "RUNNING"))
        mirror_writer.put_trial(trial(number))
    assert mirror_writer.close(60)
    assert mirror_writer.behind == 0
    client = MlflowClient(mirror_writer.mirror.tracking_uri)
    runs = client.search_runs([mirror_writer.mirror.experiment_id])
    assert len(runs) == 21


def test_trials_can_be_queued_before_the_study(mlflow_file: str) -> None:
    mirror_writer = open_mirror_writer(mlflow_file)
    mirror_writer.wait_connected()
    mirror_writer.put_trial(trial(0))
    time.sleep(0.1)
    assert mirror_writer.behind == 1
    mirror_writer.put_study(study_record())
    assert mirror_writer.close(60)


def test_records_are_written_after_an_outage(
    mlflow_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror_writer = open_mirror_writer(mlflow_file)
    mirror_writer.put_study(study_record())
    assert mirror_writer.wait_adopted(60)
    broken = threading.Event()
    broken.set()
    write = mirror_writer.mirror.write_trial

    def write_or_break(record: TrialRecord) -> Any:
        if broken.is_set():
            raise ConnectionError("no route to host")
        return write(record)

    monkeypatch.setattr(mirror_writer.mirror, "write_trial", write_or_break)
    for number in range(3):
        mirror_writer.put_trial(trial(number))
    assert not mirror_writer.wait_level(0.3)
    assert mirror_writer.behind == 3
    assert "no route to host" in str(mirror_writer.failure)
    broken.clear()
    assert mirror_writer.close(60)
    assert mirror_writer.failure is None


@pytest.mark.slow
def test_a_steady_wait_continues_while_records_are_written(
    mlflow_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror_writer = open_mirror_writer(mlflow_file)
    mirror_writer.put_study(study_record())
    assert mirror_writer.wait_level(60)
    write = mirror_writer.mirror.write_trial

    def write_slowly(record: TrialRecord) -> Any:
        time.sleep(0.2)
        return write(record)

    monkeypatch.setattr(mirror_writer.mirror, "write_trial", write_slowly)
    for number in range(8):
        mirror_writer.put_trial(trial(number))
    assert not mirror_writer.wait_level(1.0)
    assert mirror_writer.wait_level(1.0, steadily=True)
    assert mirror_writer.close(60)


def test_a_study_is_behind_until_its_record_is_completely_written(
    mlflow_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing the report takes long; until it is written, `wait_level` returns False."""
    mirror_writer = open_mirror_writer(mlflow_file)
    mirror_writer.put_study(study_record())
    assert mirror_writer.wait_level(60)
    write, go_on = mirror_writer.mirror.write_study, threading.Event()

    def write_late(record: StudyRecord) -> None:
        go_on.wait(60)
        write(record)

    monkeypatch.setattr(mirror_writer.mirror, "write_study", write_late)
    mirror_writer.put_study(replace(study_record(uid="abc"), state="finished"))
    assert not mirror_writer.wait_level(1.5)
    assert mirror_writer.behind == 1
    go_on.set()
    assert mirror_writer.close(60)
    assert mirror_writer.behind == 0


def test_a_closed_writer_starts_no_other_run(
    mlflow_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror_writer = open_mirror_writer(mlflow_file)
    mirror_writer.put_study(study_record())
    assert mirror_writer.wait_level(60)
    begun: list[int] = []

    def write_slowly(record: TrialRecord) -> Any:
        begun.append(record.number)
        time.sleep(0.3)

    monkeypatch.setattr(mirror_writer.mirror, "write_trial", write_slowly)
    for number in range(20):
        mirror_writer.put_trial(trial(number))
    assert not mirror_writer.wait_level(0.5)
    assert not mirror_writer.close()
    assert not mirror_writer._thread.is_alive()
    assert 0 < len(begun) < 10


def test_wait_connected_raises_if_the_store_cannot_be_opened() -> None:
    mirror_writer = MirrorWriter(Mirror("http://127.0.0.1:9", "houses"))
    with pytest.raises(DatabaseError, match=r"MLflow at http.* does not answer"):
        mirror_writer.wait_connected()


def test_closing_does_not_wait_for_a_missing_study_record(mlflow_file: str) -> None:
    mirror_writer = open_mirror_writer(mlflow_file)
    mirror_writer.wait_connected()
    mirror_writer.put_trial(trial(0))
    assert not mirror_writer.close(0.2)


@pytest.mark.parametrize("restores", ["the mirror", "a user"])
def test_a_run_deleted_meanwhile_is_said_and_written_once_it_is_restored(
    mlflow_file: str, restores: str
) -> None:
    mirror_writer = MirrorWriter(Mirror(mlflow_file, "houses", restore=restores == "the mirror"))
    study = study_record()
    mirror_writer.put_study(study)
    assert mirror_writer.wait_level(60)
    client, run = MlflowClient(mlflow_file), mirror_writer.mirror.run_id
    client.delete_experiment(mirror_writer.mirror.experiment_id)
    mirror_writer.put_trial(trial(0))
    mirror_writer.put_study(study)
    if restores == "a user":
        assert not mirror_writer.wait_level(1.5)
        assert isinstance(mirror_writer.failure, PermanentError)
        assert "the experiment 'houses' was deleted" in str(mirror_writer.failure)
        client.restore_experiment(mirror_writer.mirror.experiment_id)
    assert mirror_writer.close(60)
    runs = client.search_runs([mirror_writer.mirror.experiment_id])
    assert len(runs) == 2
    assert run in {found.info.run_id for found in runs}

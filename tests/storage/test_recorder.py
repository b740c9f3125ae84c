import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from examples import study_record, trial
from mlflow import MlflowClient

from storage import recorder as recorder_module
from storage.errors import DatabaseError
from storage.recorder import Recorder
from storage.records import StudyRecord, TrialRecord
from storage.tracking import Mirror


def open_recorder(tracking_uri: str) -> Recorder:
    return Recorder(Mirror(tracking_uri, "houses"))


def test_everything_handed_over_is_written_by_the_end(mlflow_file: str) -> None:
    recorder = open_recorder(mlflow_file)
    recorder.put_study(study_record())
    for number in range(20):
        recorder.put_trial(trial(number, "RUNNING"))
        recorder.put_trial(trial(number))
    assert recorder.close(60)
    assert recorder.behind == 0
    client = MlflowClient(recorder.mirror.tracking_uri)
    runs = client.search_runs([recorder.mirror.experiment_id])
    assert len(runs) == 21


def test_trials_may_come_before_the_study(mlflow_file: str) -> None:
    recorder = open_recorder(mlflow_file)
    recorder.wait_connected()
    recorder.put_trial(trial(0))
    time.sleep(0.1)
    assert recorder.behind == 1
    recorder.put_study(study_record())
    assert recorder.close(60)


def test_an_outage_is_ridden_out(mlflow_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "_FIRST_PAUSE", 0.05)
    recorder = open_recorder(mlflow_file)
    recorder.put_study(study_record())
    assert recorder.wait_adopted(60)
    broken = threading.Event()
    broken.set()
    write = recorder.mirror.write_trial

    def write_or_break(record: TrialRecord) -> Any:
        if broken.is_set():
            raise ConnectionError("no route to host")
        return write(record)

    monkeypatch.setattr(recorder.mirror, "write_trial", write_or_break)
    for number in range(3):
        recorder.put_trial(trial(number))
    assert not recorder.wait_level(0.3)
    assert recorder.behind == 3
    assert "no route to host" in str(recorder.failure)
    broken.clear()
    assert recorder.close(60)
    assert recorder.failure is None


def test_a_slow_store_is_waited_for_while_something_gets_through(
    mlflow_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = open_recorder(mlflow_file)
    recorder.put_study(study_record())
    assert recorder.wait_level(60)
    write = recorder.mirror.write_trial

    def write_slowly(record: TrialRecord) -> Any:
        time.sleep(0.2)
        return write(record)

    monkeypatch.setattr(recorder.mirror, "write_trial", write_slowly)
    for number in range(8):
        recorder.put_trial(trial(number))
    assert not recorder.wait_level(1.0)
    assert recorder.wait_level(1.0, steadily=True)
    assert recorder.close(60)


def test_a_study_is_behind_until_its_record_is_written_whole(
    mlflow_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its report takes long: as long it is not level, and whoever waits is told so."""
    recorder = open_recorder(mlflow_file)
    recorder.put_study(study_record())
    assert recorder.wait_level(60)
    write, go_on = recorder.mirror.write_study, threading.Event()

    def write_late(record: StudyRecord) -> None:
        go_on.wait(60)
        write(record)

    monkeypatch.setattr(recorder.mirror, "write_study", write_late)
    recorder.put_study(replace(study_record(uid="abc"), state="finished"))
    assert not recorder.wait_level(1.5)
    assert recorder.behind == 1
    go_on.set()
    assert recorder.close(60)
    assert recorder.behind == 0


def test_a_closed_recorder_begins_no_other_run(
    mlflow_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = open_recorder(mlflow_file)
    recorder.put_study(study_record())
    assert recorder.wait_level(60)
    begun: list[int] = []

    def write_slowly(record: TrialRecord) -> Any:
        begun.append(record.number)
        time.sleep(0.3)

    monkeypatch.setattr(recorder.mirror, "write_trial", write_slowly)
    for number in range(20):
        recorder.put_trial(trial(number))
    assert not recorder.wait_level(0.5)
    assert not recorder.close()
    assert not recorder._thread.is_alive()
    assert 0 < len(begun) < 10


def test_a_store_that_cannot_be_opened_is_an_error_for_who_waits() -> None:
    recorder = Recorder(Mirror("http://127.0.0.1:9", "houses"))
    with pytest.raises(DatabaseError, match="MLflow at http"):
        recorder.wait_connected()


def test_closing_does_not_wait_for_what_never_comes(mlflow_file: str) -> None:
    recorder = open_recorder(mlflow_file)
    recorder.wait_connected()
    recorder.put_trial(trial(0))
    assert not recorder.close(0.2)

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from optuna_stores import copy_tables
from sqlalchemy.exc import OperationalError

from search.monitoring.status import SearchStatus
from search.service import supervisor as supervisor_module
from search.service.supervisor import Supervisor
from search.study.notes import MirrorNote, StudyNotes
from storage.leases.lease import Lease
from storage.studies.study import Study, StudyBook


@pytest.fixture
def study(tmp_path: Path) -> Study:
    copy_tables(tmp_path / "optuna.db")
    return StudyBook(f"sqlite:///{tmp_path}/optuna.db").make("s", "minimize")


@pytest.fixture(autouse=True)
def no_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "_CHECK_INTERVAL", 0.0)
    monkeypatch.setattr(supervisor_module, "_NOTE_INTERVAL", 0.0)


class Scene:
    """A supervisor and its surroundings."""

    def __init__(self, study: Study, epoch: int = 1) -> None:
        self.workers, self.signalled = 2, False
        self.mirror = MirrorNote(runs=3, behind=4)
        self.mirrored: list[dict[str, Any]] = []
        self.status = SearchStatus("s", "rmse", "minimize", 50)
        self.supervisor = Supervisor(
            study,
            epoch,
            cast("Any", SimpleNamespace(present=lambda: self.workers)),
            cast("Any", SimpleNamespace(requested=lambda: self.signalled)),
            cast("Any", SimpleNamespace(mirrored=self.mirrored.append, changed=lambda: None)),
            self.status,
            lambda: self.mirror,
        )


def test_a_signal_ends_the_search_without_counting_as_a_request(study: Study) -> None:
    scene = Scene(study)
    assert not scene.supervisor.should_stop()
    scene.signalled = True
    assert scene.supervisor.should_stop()
    assert not scene.supervisor.stop_requested


def test_a_request_in_the_database_stops_only_the_coordinator_it_was_made_to(
    study: Study,
) -> None:
    assert study.ask_to_stop() is None
    leases = study.book.leases
    with Lease(leases, "s") as first:
        scene = Scene(study, first.epoch)
        assert not scene.supervisor.should_stop()
        asked = study.ask_to_stop()
        assert asked is not None
        assert asked.epoch == first.epoch
        assert scene.supervisor.should_stop()
        assert scene.supervisor.stop_requested
    with Lease(leases, "s") as second:
        assert not Scene(study, second.epoch).supervisor.should_stop()


def test_the_loss_of_the_last_worker_and_its_return_are_logged_once(
    study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "search")
    scene = Scene(study)
    for workers in (2, 0, 0, 1, 2, 0):
        scene.workers = workers
        assert not scene.supervisor.should_stop()
    assert [text.split(":")[0] for text in caplog.messages] == [
        "no worker is left",
        "a worker is back",
        "no worker is left",
    ]


def test_the_number_of_workers_is_in_the_status_and_the_notes(study: Study) -> None:
    scene = Scene(study)
    for workers in (2, 5):
        scene.workers = workers
        scene.supervisor.should_stop()
        assert scene.status.workers == workers
        assert study.read(StudyNotes).workers == workers


def test_the_state_of_the_mirror_is_noted(study: Study) -> None:
    Scene(study).supervisor.should_stop()
    assert study.read(StudyNotes).mirror == MirrorNote(runs=3, behind=4)


def test_the_observer_learns_once_that_mlflow_has_the_studys_run(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "_NOTE_INTERVAL", 1e9)
    scene = Scene(study)
    scene.supervisor.should_stop()
    assert not scene.mirrored
    scene.mirror = MirrorNote(runs=3, behind=4, run_id="abc")
    scene.supervisor.should_stop()
    scene.supervisor.should_stop()
    assert [summary["mlflow"]["run_id"] for summary in scene.mirrored] == ["abc"]


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("select", {}, Exception("database is locked")),
        ConnectionError("the Dask scheduler that serves it is gone"),
    ],
    ids=["locked", "scheduler gone"],
)
def test_a_database_error_does_not_end_the_search(
    study: Study, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(Study, "read", fail)
    assert not Scene(study).supervisor.should_stop()


def test_an_observer_call_that_failed_is_repeated(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(study)
    scene.mirror = MirrorNote(run_id="abc")

    def fail(*_: Any) -> None:
        raise OperationalError("select", {}, Exception("database is locked"))

    with monkeypatch.context() as patch:
        patch.setattr(supervisor_module, "summarize", fail)
        scene.supervisor.should_stop()
    assert scene.mirrored == []
    scene.supervisor.should_stop()
    assert len(scene.mirrored) == 1

"""A study that another process runs, polled from its database."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution
from settled import settle

from search.monitoring.poller import StudyPoller
from search.study.notes import MirrorNote, StudyNotes
from storage.leases.lease import Lease
from storage.records import TrialRecord
from storage.studies.study import Study, StudyBook

SPACE = {"max_features": FloatDistribution(0.0, 1.0)}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    book = StudyBook(f"sqlite:///{tmp_path}/optuna.db", create=True)
    study = book.make("houses", "minimize")
    settle(study, state="running")
    yield study
    book.rdb.remove_session()
    book.rdb.engine.dispose()


def trial(number: int, state: str = "COMPLETE") -> TrialRecord:
    record = TrialRecord(number, "COMPLETE", {"max_features": 0.5}, started=NOW)
    if state == "RUNNING":
        return replace(record, state="RUNNING")
    return replace(record, value=5.0 - number, steps=128, ended=NOW)


def test_changes_are_seen_at_the_next_poll(study: Study) -> None:
    with Lease(study.book.leases, study.name):
        study.enter_trial(trial(0), SPACE)
        poller = StudyPoller(study)
        now = poller.status
        assert (now.state, now.goal, now.metric) == ("running", 50, "rmse")
        assert now.statistics.finished == 1
        assert now.began is not None
        assert (now.workers, now.behind(), now.doing) == (None, None, "searching")

        study.enter_trial(trial(1, "RUNNING"), SPACE)
        study.report(1, 16, 4.5)
        study.write(StudyNotes(workers=8))
        study.write(StudyNotes(mirror=MirrorNote(runs=1, behind=3)))
        study.write(StudyNotes(doing="making the champion"))
        poller.poll()
        assert poller.status is now
        assert [t.scores for t in now.running] == [{16: 4.5}]
        assert (now.workers, now.behind(), now.doing) == (8, 3, "making the champion")

        study.end_trial(trial(1))
        poller.poll()
        assert now.running == []
        assert now.statistics.finished == 2
    study.write(StudyNotes(state="finished"))
    poller.poll()
    assert poller.status.state == "finished"


def test_another_launch_starts_a_new_status(study: Study) -> None:
    with Lease(study.book.leases, study.name):
        study.enter_trial(trial(0), SPACE)
        poller = StudyPoller(study)
        first = poller.status
    with Lease(study.book.leases, study.name):
        study.write(StudyNotes(goal=80))
        study.enter_trial(trial(1), SPACE)
        poller.poll()
        assert poller.status is not first
        assert (poller.status.goal, poller.status.statistics.finished) == (80, 2)


def test_a_dead_coordinator_is_noticed(study: Study) -> None:
    poller = StudyPoller(study)  # the notes say "running", but no process holds the lease
    assert poller.status.state == "lost"
    assert poller.status.began is None

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import optuna
import pytest
from examples import SPACE, close, close_book, database_of, trial
from pydantic import Field

from storage.errors import DatabaseError, NotFoundError
from storage.host import this_host
from storage.leases.store import Holder
from storage.records import Span, TrialRecord
from storage.studies.study import Study, StudyAttributes, StudyBook
from storage.studies.trials import attributes_of

# A record that sets nearly every field: the trial repeats another and has been the best.
FULL = replace(
    trial(0, value=3.25),
    place=4,
    repeats=2,
    enough_steps=300,
    covered=0.93,
    spans=(Span("tcp://host:1", 1795708811.141, 1795708812.5), Span("0", 5.0, 6.25)),
    blocks={16: (3.5, 1 / 3), 64: (3.25, float("inf"))},
)


@pytest.fixture
def reopened(book: StudyBook) -> Iterator[Callable[[], Study]]:
    """Open the study as another process would, without cached trials."""
    others: list[StudyBook] = []

    def reopen() -> Study:
        others.append(StudyBook(book.url))
        return others[-1].open("houses")

    yield reopen
    for other in others:
        close_book(other)


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Set the local time zone."""

    def set_zone(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    with monkeypatch.context():
        yield set_zone
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "record",
    [
        trial(0, "RUNNING"),
        trial(0, "PRUNED"),
        trial(0, "FAIL"),
        FULL,
        replace(trial(0), copies=7, fit_seconds=0.0),
        replace(trial(0, "FAIL"), interrupted=True, place=3),
        replace(trial(0), fit_seconds=0.123456789),
        replace(trial(0), rows=10_000, model_bytes=3 * 10**9),
    ],
    ids=["running", "pruned", "failed", "full", "copy", "interrupted", "seconds", "size"],
)
def test_a_record_survives_a_round_trip_through_the_database(
    record: TrialRecord, study: Study, reopened: Callable[[], Study]
) -> None:
    assert study.enter_trial(record, SPACE) == record
    assert study.trials() == reopened().trials() == [record]
    assert reopened().find_trial(0) == record


def test_a_running_trial_accepts_scores_and_an_end(
    study: Study, reopened: Callable[[], Study]
) -> None:
    running = replace(trial(0, "RUNNING"), place=4, repeats=2)
    assert study.enter_trial(running, SPACE) == running
    study.report(0, 16, 3.5)
    study.report(0, 64, 3.25)
    assert reopened().trials() == [replace(running, scores={16: 3.5, 64: 3.25})]
    ended = study.end_trial(replace(FULL, scores={16: 3.5, 64: 3.25}))
    assert ended.scores == {16: 3.5, 64: 3.25}
    assert (ended.value, ended.steps, ended.fit_seconds) == (3.25, 64, 0.5)
    assert ended.started == running.started
    assert ended.ended is not None
    assert study.trials() == reopened().trials() == [ended]
    assert replace(ended, ended=FULL.ended, scores=FULL.scores) == FULL


def test_attributes_of_an_incomplete_end_are_ignored(
    study: Study, reopened: Callable[[], Study]
) -> None:
    """The coordinator died between two of the writes that end a trial."""
    running = study.enter_trial(replace(trial(0, "RUNNING"), place=4, repeats=2), SPACE)
    for key, value in attributes_of(FULL).items():
        study.book.storage.set_trial_user_attr(study._trial_id(0), key, value)
    (found,) = reopened().trials()
    assert replace(found, spans=()) == running
    ended = study.end_trial(replace(found, state="FAIL", interrupted=True, spans=()))
    assert (ended.steps, ended.fit_seconds, ended.enough_steps) == (None, None, None)


def test_the_database_assigns_trial_numbers(study: Study) -> None:
    for number in range(3):
        assert study.enter_trial(trial(7 - number), SPACE).number == number
    assert [t.number for t in study.trials()] == [0, 1, 2]


def test_a_missing_trial_is_none(study: Study) -> None:
    assert study.find_trial(0) is None
    study.enter_trial(trial(0), SPACE)
    assert study.find_trial(1) is None


def test_optuna_reads_what_was_written(study: Study, book: StudyBook) -> None:
    study.enter_trial(trial(0, "PRUNED", value=3.5), SPACE)
    study.enter_trial(trial(1, value=2.5), SPACE)
    study.enter_trial(replace(trial(2, "RUNNING"), place=5), SPACE)
    study.end_trial(replace(trial(2, "FAIL"), place=5))
    storage = optuna.storages.RDBStorage(database_of(book))
    loaded = optuna.load_study(study_name="houses", storage=storage)
    assert [t.state.name for t in loaded.trials] == ["PRUNED", "COMPLETE", "FAIL"]
    assert loaded.best_trial.number == 1
    assert loaded.best_params == trial(1).params
    assert loaded.trials[0].intermediate_values == {16: 4.5, 64: 3.5}
    assert loaded.trials[2].user_attrs == {"place": 5, "reason": "it broke"}
    assert loaded.trials[1].distributions == SPACE
    close(storage)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["America/New_York", "Asia/Kolkata", "Pacific/Kiritimati"])
def test_times_do_not_depend_on_the_local_time_zone(
    name: str, study: Study, reopened: Callable[[], Study], zone: Callable[[str], None]
) -> None:
    zone(name)
    for number, month in enumerate((1, 7)):
        begun = datetime(2026, month, 15, 23, 30, 0, 250_000, tzinfo=UTC)
        record = replace(trial(number), started=begun, ended=begun + timedelta(seconds=90))
        assert study.enter_trial(record, SPACE) == record
        assert reopened().find_trial(number) == record
    before = datetime.now(UTC)
    study.enter_trial(replace(trial(2, "RUNNING"), started=before), SPACE)
    ended = study.end_trial(replace(trial(2), started=before))
    read = reopened().find_trial(2)
    assert read is not None
    assert read.started == ended.started == before
    assert ended.ended is not None
    assert before <= ended.ended <= datetime.now(UTC)
    assert read.ended == ended.ended


class _Notes(StudyAttributes):
    goal: int = 50
    spec: dict[str, int] = Field(default_factory=dict)


def test_attributes_of_other_programs_are_not_read(study: Study, book: StudyBook) -> None:
    study.optuna.set_user_attr("goal", 1)
    study.write(_Notes(spec={"seed": 0}))
    again = book.open("houses").read(_Notes)
    assert (again.goal, again.spec) == (50, {"seed": 0})
    assert again.model_fields_set == {"spec"}


def test_an_attribute_of_a_later_version_is_read_and_survives_a_write(study: Study) -> None:
    study.optuna.set_user_attr("grovekeeper:colour", "green")
    notes = study.read(_Notes)
    assert notes.model_extra == {"colour": "green"}
    study.write(notes)
    study.write(_Notes(goal=5))
    assert study.optuna.user_attrs == {"grovekeeper:colour": "green", "grovekeeper:goal": 5}


def test_fields_are_written_one_by_one_in_the_order_of_their_declaration(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr(optuna.Study, "set_user_attr", lambda _, key, __: written.append(key))
    study.write(_Notes(spec={}, goal=5, state="running"))
    assert written == ["grovekeeper:state", "grovekeeper:goal", "grovekeeper:spec"]


def test_a_later_format_is_refused(study: Study) -> None:
    study.optuna.set_user_attr("grovekeeper:format_version", 2)
    with pytest.raises(DatabaseError, match=r"has format 2, .* up to 1: install a newer one"):
        study.read(StudyAttributes)


def test_an_attribute_of_the_wrong_type_is_named_in_the_error(study: Study) -> None:
    study.optuna.set_user_attr("grovekeeper:goal", "many")
    with pytest.raises(DatabaseError, match="the attribute grovekeeper:goal of study 'houses'"):
        study.read(_Notes)


def test_the_error_on_a_missing_study_suggests_a_similar_name(
    study: Study, book: StudyBook
) -> None:
    with pytest.raises(NotFoundError, match="did you mean 'houses'"):
        book.open("house")
    with pytest.raises(NotFoundError, match="grovekeeper studies"):
        book.open("zzz")
    assert book.names() == ["houses"]


def test_stop_requests_are_recorded_for_a_dead_coordinator(study: Study) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    study.book.leases.prepare(study.name)
    assert study.ask_to_stop() is None
    assert study.book.leases.take(study.name, 0, Holder("ada", this_host(), ended.pid))
    study.write(StudyAttributes(state="running"))
    asked = study.ask_to_stop()
    assert asked is not None
    assert (asked.alive, asked.epoch) == (False, 1)
    assert study.is_asked_to_stop(1)
    study.write(StudyAttributes(state="stopped"))
    assert study.ask_to_stop() is None


def test_a_study_whose_coordinator_died_is_lost(study: Study) -> None:
    study.write(StudyAttributes(state="running"))
    assert study.state() == "lost"
    study.write(StudyAttributes(state="finished"))
    assert study.state() == "finished"

import optuna
import pytest
from examples import BEGIN, close, trial

from storage.errors import NotFoundError
from storage.studies import Study, StudyBook, best_of, counts, improvements

SPACE = {
    "max_depth": optuna.distributions.CategoricalDistribution([None, 4]),
    "max_features": optuna.distributions.FloatDistribution(0.1, 1.0),
}
PARAMS = {"max_depth": None, "max_features": 0.25}


def test_a_trial_is_written_and_read_back(study: Study) -> None:
    begun = study.begin_trial(PARAMS, SPACE, 4, 2)
    assert (begun.number, begun.state, begun.params) == (0, "RUNNING", PARAMS)
    assert (begun.place, begun.repeats) == (4, 2)
    study.report(0, 16, 3.5)
    study.report(0, 64, 3.25)
    ended = study.end_trial(0, "COMPLETE", 3.25, {"n_estimators": 64, "fit_seconds": 0.5})
    assert ended.scores == {16: 3.5, 64: 3.25}
    assert (ended.value, ended.trees, ended.fit_seconds) == (3.25, 64, 0.5)
    assert ended.started is not None
    assert ended.ended is not None
    assert ended.started <= ended.ended
    assert study.trials() == [ended]


def test_optuna_reads_what_was_written(study: Study, book: StudyBook) -> None:
    study.begin_trial(PARAMS, SPACE, 0, None)
    study.report(0, 16, 3.5)
    study.end_trial(0, "PRUNED", 3.5, {})
    study.begin_trial(PARAMS, SPACE, 1, None)
    study.end_trial(1, "COMPLETE", 2.5, {})
    study.begin_trial(PARAMS, SPACE, 2, None)
    study.end_trial(2, "FAIL", None, {"reason": "it broke", "interrupted": None})
    storage = optuna.storages.RDBStorage(book.url)
    loaded = optuna.load_study(study_name="houses", storage=storage)
    assert [t.state.name for t in loaded.trials] == ["PRUNED", "COMPLETE", "FAIL"]
    assert loaded.best_trial.number == 1
    assert loaded.trials[0].intermediate_values == {16: 3.5}
    assert loaded.trials[2].user_attrs == {"place": 2, "reason": "it broke"}
    assert loaded.trials[1].distributions == SPACE
    close(storage)


def test_notes_are_kept_apart_from_other_attributes(study: Study, book: StudyBook) -> None:
    study.optuna.set_user_attr("mine", 1)
    study.put("spec", {"seed": 0, "space": {"a": "b"}})
    again = book.open("houses")
    assert again.get("spec") == {"seed": 0, "space": {"a": "b"}}
    assert set(again.notes()) == {"uid", "spec"}
    assert again.uid == study.uid


def test_a_missing_study_gets_the_near_name(study: Study, book: StudyBook) -> None:
    with pytest.raises(NotFoundError, match="did you mean 'houses'"):
        book.open("house")
    with pytest.raises(NotFoundError, match="grovekeeper studies"):
        book.open("zzz")
    assert book.names() == ["houses"]


def test_a_study_whose_coordinator_died_is_lost(study: Study) -> None:
    study.put("state", "running")
    assert study.state() == "lost"
    study.put("state", "finished")
    assert study.state() == "finished"


def test_trials_are_counted_by_state() -> None:
    trials = [trial(0), trial(1, "PRUNED"), trial(2, "FAIL"), trial(3, "RUNNING"), trial(4)]
    expected = {"complete": 2, "pruned": 1, "failed": 1, "running": 1, "waiting": 0}
    assert counts(trials) == expected


def test_the_best_is_the_best_complete_trial() -> None:
    trials = [trial(0, value=3.0), trial(1, "PRUNED", value=1.0), trial(2, value=2.0)]
    assert (best_of(trials, "minimize") or trials[0]).number == 2
    assert (best_of(trials, "maximize") or trials[1]).number == 0
    assert best_of(trials[1:2], "minimize") is None


def test_improvements_never_go_back_in_number_or_value() -> None:
    import dataclasses
    from datetime import timedelta

    late = dataclasses.replace(trial(1, value=1.0), ended=BEGIN + timedelta(hours=9))
    trials = [trial(0, value=5.0), late, trial(2, value=4.0), trial(3, value=6.0)]
    assert improvements(trials, "minimize") == ((0, 5.0), (2, 4.0), (3, 1.0))

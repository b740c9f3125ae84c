from dataclasses import replace
from typing import Any

from search.optimization.trial_queue import QueuedTrial, TrialQueue
from storage.records import TrialRecord

INITIAL = ({"max_features": 0.1}, {"max_features": 0.2}, {"max_features": 0.3})


def trial(number: int, state: str = "COMPLETE", **more: Any) -> TrialRecord:
    params = {"max_features": number / 10}
    return TrialRecord(number=number, state=state, params=params, **{"place": number} | more)  # type: ignore[arg-type]


def take(trial_queue: TrialQueue, n: int) -> list[QueuedTrial]:
    return [trial_queue.next() for _ in range(n)]


def test_a_new_study_begins_with_its_initial_trials() -> None:
    assert take(TrialQueue([], INITIAL), 5) == [
        *(QueuedTrial(place, params) for place, params in enumerate(INITIAL)),
        QueuedTrial(3),
        QueuedTrial(4),
    ]


def test_a_study_continues_after_its_last_place() -> None:
    assert take(TrialQueue([trial(0), trial(1, "PRUNED")], INITIAL), 2) == [
        QueuedTrial(2, INITIAL[2]),
        QueuedTrial(3),
    ]
    assert take(TrialQueue([trial(n) for n in range(5)], INITIAL), 1) == [QueuedTrial(5)]


def test_interrupted_trials_are_retried_first_and_once() -> None:
    lost = trial(1, "FAIL", interrupted=True)
    assert take(TrialQueue([trial(0), lost], INITIAL), 2) == [
        QueuedTrial(1, lost.params, 1),
        QueuedTrial(2, INITIAL[2]),
    ]
    again = trial(2, place=1, repeats=1)
    assert take(TrialQueue([trial(0), lost, again], ()), 1) == [QueuedTrial(2)]


def test_a_retry_that_was_interrupted_is_retried() -> None:
    lost = trial(0, "FAIL", interrupted=True)
    again = trial(1, "FAIL", interrupted=True, place=0, repeats=0)
    assert take(TrialQueue([lost, again], ()), 2) == [
        QueuedTrial(0, again.params, 1),
        QueuedTrial(1),
    ]


def test_a_failed_trial_is_retried_three_times() -> None:
    trial_queue = TrialQueue([], INITIAL)
    number, failed = 0, take(trial_queue, 1)[0]
    attempts = 1
    while trial_queue.may_retry(failed.place):
        trial_queue.fail(trial(number, "FAIL", place=0))
        attempts += 1
        number += 1
    trial_queue.fail(trial(number, "FAIL", place=0, given_up=True))
    assert attempts == 4
    queued = take(trial_queue, 6)
    assert [trial.repeats for trial in queued if trial.place == 0] == [0, 1, 2]
    assert queued[-1] == QueuedTrial(3)


def test_failures_of_earlier_launches_count_but_interruptions_do_not() -> None:
    failed = [trial(number, "FAIL", place=0) for number in range(3)]
    lost = [trial(number, "FAIL", place=1, interrupted=True) for number in range(3, 9)]
    trial_queue = TrialQueue([*failed, *lost], ())
    assert not trial_queue.may_retry(0)
    assert trial_queue.may_retry(1)


def test_a_trial_that_was_given_up_is_not_retried() -> None:
    failed = [replace(trial(n, "FAIL", place=0), given_up=n == 3) for n in range(4)]
    failed = [replace(r, repeats=r.number - 1 if r.number else None) for r in failed]
    assert take(TrialQueue(failed, ()), 1) == [QueuedTrial(1)]

from dataclasses import replace
from typing import Any

from search.optimization.trial_queue import Item, TrialQueue
from storage.records import TrialRecord

FIRST = ({"max_features": 0.1}, {"max_features": 0.2}, {"max_features": 0.3})


def trial(number: int, state: str = "COMPLETE", **more: Any) -> TrialRecord:
    params = {"max_features": number / 10}
    return TrialRecord(number=number, state=state, params=params, **{"place": number} | more)  # type: ignore[arg-type]


def take(trial_queue: TrialQueue, n: int) -> list[Item]:
    return [trial_queue.next() for _ in range(n)]


def test_a_new_study_begins_with_its_first_trials() -> None:
    assert take(TrialQueue([], FIRST), 5) == [
        *(Item(place, params) for place, params in enumerate(FIRST)),
        Item(3),
        Item(4),
    ]


def test_a_study_goes_on_after_its_last_place() -> None:
    assert take(TrialQueue([trial(0), trial(1, "PRUNED")], FIRST), 2) == [
        Item(2, FIRST[2]),
        Item(3),
    ]
    assert take(TrialQueue([trial(n) for n in range(5)], FIRST), 1) == [Item(5)]


def test_interrupted_trials_are_repeated_first_and_once() -> None:
    lost = trial(1, "FAIL", interrupted=True)
    assert take(TrialQueue([trial(0), lost], FIRST), 2) == [
        Item(1, lost.params, 1),
        Item(2, FIRST[2]),
    ]
    again = trial(2, place=1, repeats=1)
    assert take(TrialQueue([trial(0), lost, again], ()), 1) == [Item(2)]


def test_what_was_interrupted_again_is_repeated_again() -> None:
    lost = trial(0, "FAIL", interrupted=True)
    again = trial(1, "FAIL", interrupted=True, place=0, repeats=0)
    assert take(TrialQueue([lost, again], ()), 2) == [Item(0, again.params, 1), Item(1)]


def test_a_failed_trial_is_tried_again_three_times() -> None:
    trial_queue = TrialQueue([], FIRST)
    number, failed = 0, take(trial_queue, 1)[0]
    attempts = 1
    while trial_queue.may_retry(failed.place):
        trial_queue.fail(trial(number, "FAIL", place=0))
        attempts += 1
        number += 1
    trial_queue.fail(trial(number, "FAIL", place=0, given_up=True))
    assert attempts == 4
    items = take(trial_queue, 6)
    assert [item.repeats for item in items if item.place == 0] == [0, 1, 2]
    assert items[-1] == Item(3)


def test_failures_of_earlier_launches_count_and_interruptions_do_not() -> None:
    failed = [trial(number, "FAIL", place=0) for number in range(3)]
    lost = [trial(number, "FAIL", place=1, interrupted=True) for number in range(3, 9)]
    trial_queue = TrialQueue([*failed, *lost], ())
    assert not trial_queue.may_retry(0)
    assert trial_queue.may_retry(1)


def test_what_was_given_up_is_not_repeated() -> None:
    failed = [replace(trial(n, "FAIL", place=0), given_up=n == 3) for n in range(4)]
    failed = [replace(r, repeats=r.number - 1 if r.number else None) for r in failed]
    assert take(TrialQueue(failed, ()), 1) == [Item(1)]

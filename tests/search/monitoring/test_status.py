"""The status of a search: counts, pace, time left, the curve of the best value."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.monitoring.status import SearchStatus
from storage.records import Direction, TrialRecord

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def trial(number: int, state: Any = "COMPLETE", value: float | None = None) -> TrialRecord:
    """Return a trial of 128 trees that took two seconds; trials follow one another."""
    ended = state != "RUNNING"
    return TrialRecord(
        number,
        state,
        {"max_features": 0.5},
        scores={16: 9.0},
        value=(50.0 - number if value is None else value) if ended and state != "FAIL" else None,
        steps=128 if ended else None,
        started=BEGIN + timedelta(seconds=2 * number),
        ended=BEGIN + timedelta(seconds=2 * number + 2) if ended else None,
    )


def overlapping(number: int) -> TrialRecord:
    """Return one of eight trials that run at the same time, ten seconds each."""
    begin = BEGIN + timedelta(seconds=10 * (number // 8) + number % 8)
    return replace(trial(number), started=begin, ended=begin + timedelta(seconds=10))


def status(*trials: TrialRecord, goal: int = 20, direction: Direction = "minimize") -> SearchStatus:
    return SearchStatus("s", "rmse", direction, goal, trials)


def test_pace_and_time_left_follow_the_last_trials() -> None:
    now = status(*(trial(number) for number in range(5)))
    assert now.trees_per_second() == pytest.approx(64)
    assert now.seconds_left() == pytest.approx(15 * 2)
    now.take(trial(5, "PRUNED"))
    assert now.seconds_left() == pytest.approx(14 * 2)


def test_the_time_left_ends_at_the_deadline_and_with_the_search() -> None:
    now = status(*(trial(number) for number in range(5)))
    now.deadline = time.monotonic() + 1000
    assert now.seconds_left() == pytest.approx(15 * 2)
    now.deadline = time.monotonic() - 1
    assert now.seconds_left() == 0
    now.doing = "making the champion"
    assert now.seconds_left() is None


def test_failed_trials_take_time_without_counting_towards_the_goal() -> None:
    now = status(*(trial(number, ("COMPLETE", "FAIL")[number % 2]) for number in range(10)))
    assert now.seconds_left() == pytest.approx(15 * 4)


def test_nothing_is_estimated_before_the_first_trial_and_at_the_goal() -> None:
    assert status().trees_per_second() is None
    assert status().seconds_left() is None
    assert status().curve(10) == []
    assert status(trial(0), goal=1).seconds_left() is None
    assert SearchStatus("s", "rmse", "minimize", None, [trial(0)]).seconds_left() is None


def test_interrupted_trials_do_not_change_the_pace() -> None:
    lost = replace(trial(1, "FAIL"), interrupted=True, ended=BEGIN + timedelta(days=1))
    now = status(trial(0), lost, trial(2, "FAIL"))
    assert now.seconds_left() == pytest.approx(19 * 4)


def test_running_trials_are_added_and_removed() -> None:
    now = status(trial(0), trial(1, "RUNNING"))
    now.take(trial(2, "RUNNING"))
    assert [t.number for t in now.running] == [1, 2]
    now.take(replace(trial(2, "RUNNING"), scores={16: 9.0, 64: 8.0}))
    assert now.running[1].scores == {16: 9.0, 64: 8.0}
    now.take(trial(1))
    assert [t.number for t in now.running] == [2]


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=60),
    st.integers(1, 40),
    st.sampled_from(["minimize", "maximize"]),
)
def test_the_curve_only_gets_better_and_ends_at_the_best(
    values: list[int], points: int, direction: Direction
) -> None:
    now = status(
        *(trial(number, value=float(value)) for number, value in enumerate(values)),
        direction=direction,
    )
    curve = now.curve(points)
    best = min if direction == "minimize" else max
    assert len(curve) == min(points, len(values))
    assert curve == sorted(curve, reverse=direction == "minimize")
    if points > 1:
        assert (curve[0], curve[-1]) == (values[0], best(values))


def test_known_trials_and_updates_give_the_same_status() -> None:
    trials = [overlapping(number) for number in range(60)]
    known, taken = status(*trials, goal=90), status(goal=90)
    for one in trials:
        taken.take(one)
    assert known.trees_per_second() == taken.trees_per_second()
    assert known.seconds_left() == taken.seconds_left()
    assert known.curve(7) == taken.curve(7)

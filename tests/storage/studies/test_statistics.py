from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from examples import BEGIN, trial
from hypothesis import given
from hypothesis import strategies as st

from storage.records import Direction, TrialRecord
from storage.studies.statistics import TrialStatistics

DAY = timedelta(days=1)
DIRECTIONS: tuple[Direction, ...] = ("minimize", "maximize")


def counts(trials: Sequence[TrialRecord]) -> dict[str, int]:
    names = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
    names |= {"running": "RUNNING", "waiting": "WAITING"}
    states: Counter[str] = Counter(t.state for t in trials if not t.interrupted)
    found = {name: states[state] for name, state in names.items()}
    return found | {"interrupted": sum(t.interrupted for t in trials)}


def champion(trials: Sequence[TrialRecord], direction: Direction) -> TrialRecord | None:
    """Return the complete trial with the best value; if several have it, the lowest number."""
    sign = 1 if direction == "minimize" else -1
    complete = [t for t in trials if t.state == "COMPLETE"]
    return min(complete, key=lambda t: (sign * (t.value or 0.0), t.number), default=None)


def improvements(trials: Sequence[TrialRecord], direction: Direction) -> list[tuple[int, float]]:
    """Return each improvement of the best value with the highest number of the ended trials."""
    best: list[tuple[int, float]] = []
    ended = [t for t in trials if t.ended is not None]
    for moment in sorted(ended, key=lambda t: (t.ended, t.number)):
        by_then = [t for t in ended if (t.ended, t.number) <= (moment.ended, moment.number)]
        leader = champion(by_then, direction)
        if leader is not None and leader.value not in [value for _, value in best]:
            best.append((max(t.number for t in by_then), leader.value or 0.0))
    return best


def ending(number: int, how: str, value: int, minute: int) -> TrialRecord:
    ended = BEGIN + timedelta(minutes=minute + 1)
    if how == "interrupted":
        return replace(trial(number, "FAIL"), interrupted=True, ended=ended)
    return replace(trial(number, how, float(value)), ended=ended)


# The range of values is small so that some are equal. Trials end in any order.
endings = st.lists(
    st.tuples(st.sampled_from(["COMPLETE", "PRUNED", "FAIL", "interrupted"]), st.integers(1, 6)),
    max_size=12,
).flatmap(
    lambda kinds: st.permutations(range(len(kinds))).map(
        lambda minutes: [
            ending(number, state, value, minutes[number])
            for number, (state, value) in enumerate(kinds)
        ]
    )
)


@given(endings, st.sampled_from(DIRECTIONS), st.data())
def test_incremental_statistics_equal_a_recount_after_any_sequence_of_changes(
    ended: list[TrialRecord], direction: Direction, data: st.DataObject
) -> None:
    """Trials begin in the order of their numbers, change any number of times, and end."""
    statistics, now = TrialStatistics(direction), dict[int, TrialRecord]()

    def draw(strategy: st.SearchStrategy[Any]) -> Any:
        return data.draw(strategy)

    to_end = sorted(ended, key=lambda t: t.ended or BEGIN)
    while to_end:
        running = [n for n, t in now.items() if t.state == "RUNNING"]
        may_begin = len(now) < len(ended)
        number = to_end[0].number
        if may_begin and (number not in now or draw(st.booleans())):
            record = trial(len(now), "RUNNING")
        elif running and draw(st.booleans()):
            chosen = draw(st.sampled_from(running))
            record = replace(now[chosen], scores=dict(now[chosen].scores) | {16: 1.0})
        else:
            record = to_end.pop(0)
        now[record.number] = record
        statistics.take(record)
        trials = list(now.values())
        assert statistics.counts == counts(trials)
        assert statistics.finished == statistics.counts["complete"] + statistics.counts["pruned"]
        assert statistics.champion == champion(trials, direction)
        assert statistics.best == improvements(trials, direction)
        again = TrialStatistics(direction, trials)
        assert (again.counts, again.champion) == (statistics.counts, statistics.champion)
        assert again.best == statistics.best


@given(endings, st.sampled_from(DIRECTIONS))
def test_counts_and_champion_do_not_depend_on_the_order_of_ended_trials(
    ended: list[TrialRecord], direction: Direction
) -> None:
    """Trials are entered by number, even if a later trial ended before an earlier one."""
    statistics = TrialStatistics(direction)
    for record in ended:
        statistics.take(record)
    assert statistics.counts == counts(ended)
    assert statistics.champion == champion(ended, direction)
    values = [value for _, value in statistics.best]
    assert values == sorted(set(values), reverse=direction == "minimize")
    assert [n for n, _ in statistics.best] == sorted(n for n, _ in statistics.best)
    if statistics.champion is not None:
        assert values[-1] == statistics.champion.value


@pytest.mark.parametrize("workers", [1, 8, 32])
def test_throughput_equals_the_rate_of_all_workers_when_trials_overlap(workers: int) -> None:
    """Trials take 5 to 15 seconds on workers that are always busy; one trial takes 200 seconds."""
    random = np.random.default_rng(0)
    free, trials = [0.0] * workers, []
    for number in range(400):
        start = min(free)
        seconds = 200.0 if number == 3 else random.uniform(5, 15)
        free[free.index(start)] = start + seconds
        begin, end = (BEGIN + timedelta(seconds=s) for s in (start, start + seconds))
        trials.append(replace(trial(number), started=begin, ended=end))
    found = [rate for _, rate in TrialStatistics("minimize", trials).throughput]
    assert [n for n, _ in TrialStatistics("minimize", trials).throughput] == list(
        range(10, 401, 10)
    )
    true = 64 * workers / 10
    assert true * 0.8 < np.median(found) < true * 1.25
    assert min(found) > 0


def test_throughput_counts_steps_over_the_time_in_which_trials_ran() -> None:
    """Ten trials run 64 steps and a minute each; a launch a day later runs the second five."""
    trials = [trial(number) for number in range(10)]
    late = [
        replace(t, started=(t.started or BEGIN) + DAY, ended=(t.ended or BEGIN) + DAY)
        for t in trials[5:]
    ]
    assert TrialStatistics("minimize", trials).throughput == [(10, 64 / 60)]
    assert TrialStatistics("minimize", trials[:5] + late).throughput == [(10, 64 / 60)]
    copied = [replace(t, copies=0) for t in trials[5:]]
    assert TrialStatistics("minimize", trials[:5] + copied).throughput == [(10, 32 / 60)]
    assert TrialStatistics("minimize", trials[:9]).throughput == []


def test_interrupted_trials_are_not_counted_as_failed() -> None:
    lost = replace(trial(1, "FAIL"), interrupted=True)
    statistics = TrialStatistics("minimize", [trial(0, "FAIL"), lost])
    assert (statistics.counts["failed"], statistics.counts["interrupted"]) == (1, 1)
    running = TrialStatistics("minimize", [trial(1, "RUNNING")])
    running.take(lost)
    assert {name: n for name, n in running.counts.items() if n} == {"interrupted": 1}


def test_a_running_trial_with_the_interrupted_attribute_counts_as_running() -> None:
    """The coordinator died after it set the attribute and before it ended the trial."""
    half = replace(trial(1, "RUNNING"), interrupted=True)
    assert TrialStatistics("minimize", [half]).counts["running"] == 1


def test_trials_are_counted_by_state() -> None:
    trials = [trial(0), trial(1, "PRUNED"), trial(2, "FAIL"), trial(3, "RUNNING"), trial(4)]
    expected = {"complete": 2, "pruned": 1, "failed": 1, "running": 1}
    expected |= {"interrupted": 0, "waiting": 0}
    assert TrialStatistics("minimize", trials).counts == expected


@pytest.mark.parametrize(("direction", "number"), [("minimize", 2), ("maximize", 0)])
def test_the_champion_is_the_best_complete_trial(direction: Direction, number: int) -> None:
    trials = [trial(0, value=3.0), trial(1, "PRUNED", value=1.0), trial(2, value=2.0)]
    best = TrialStatistics(direction, trials).champion
    assert best is not None
    assert best.number == number
    assert TrialStatistics(direction, trials[1:2]).champion is None


def test_improvements_are_monotonic_in_number_and_value() -> None:
    late = replace(trial(1, value=1.0), ended=BEGIN + timedelta(hours=9))
    trials = [trial(0, value=5.0), late, trial(2, value=4.0), trial(3, value=6.0)]
    assert TrialStatistics("minimize", trials).best == [(0, 5.0), (2, 4.0), (3, 1.0)]

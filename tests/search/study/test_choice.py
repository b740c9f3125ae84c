"""The champion is never shown to be worse than the best trial, and never larger."""

import math

from hypothesis import given
from hypothesis import strategies as st

from search.forest.pruning import is_behind
from search.study.choice import SMALL, choice_message, choose
from storage.records import Direction, TrialRecord
from storage.studies.statistics import TrialStatistics

N_BLOCKS = 4
STEP = 128

scores = st.floats(0, 100)
sizes = st.none() | st.integers(1, 10**9)
blocks = st.none() | st.tuples(*[scores | st.just(math.nan)] * N_BLOCKS)
steps = st.sampled_from([64, STEP])


@st.composite
def trials(draw: st.DrawFn) -> list[TrialRecord]:
    made = []
    for number in range(draw(st.integers(1, 6))):
        value, step, found = draw(scores), draw(steps), draw(blocks)
        made.append(
            TrialRecord(
                number,
                "COMPLETE" if step == STEP else draw(st.sampled_from(["PRUNED", "FAIL"])),
                {},
                scores={step: value},
                value=value,
                rows=100,
                model_bytes=draw(sizes),
                blocks=None if found is None else {step: found},
            )
        )
    return made


def trial(number: int, value: float, n_bytes: float, spread: float = 1.0) -> TrialRecord:
    """Return a complete trial whose blocks differ from its value by up to `spread`."""
    own = tuple(value + spread * place for place in (-1, 1, -1, 1))
    return TrialRecord(
        number,
        "COMPLETE",
        {},
        scores={STEP: value},
        value=value,
        rows=100,
        model_bytes=int(n_bytes),
        blocks={STEP: own},
    )


def best_of(known: list[TrialRecord], direction: Direction) -> TrialRecord:
    best = TrialStatistics(direction, known).candidate
    assert best is not None
    return best


@given(trials(), st.sampled_from(["minimize", "maximize"]))
def test_a_chosen_trial_is_never_behind_and_never_larger(
    known: list[TrialRecord], direction: Direction
) -> None:
    best = best_of(known, direction)
    chosen = choose(best, lambda: known, direction, "smallest")
    assert choose(best, lambda: known, direction, "best") == best
    if chosen == best:
        return
    assert chosen.model_bytes is not None
    assert best.model_bytes is not None
    assert chosen.model_bytes <= best.model_bytes
    assert best.model_bytes > SMALL
    assert chosen.scores.keys() == best.scores.keys()
    assert chosen.blocks is not None
    assert best.blocks is not None
    (own,), (reference,) = chosen.blocks.values(), best.blocks.values()
    assert not is_behind(own, reference, direction)
    assert chosen.ranks == best.ranks


def test_the_smallest_model_that_is_not_behind_is_chosen() -> None:
    best, small, worse = trial(0, 10.0, 3e8), trial(1, 10.1, 1e8, 5.0), trial(2, 50.0, 1e7)
    known = [best, trial(3, 10.1, 2e8, 5.0), small, worse]
    assert choose(best, lambda: known, "minimize", "smallest") == small


def test_among_equal_sizes_the_better_score_wins() -> None:
    best, other, better = trial(0, 10.0, 3e8), trial(1, 10.2, 1e8, 5.0), trial(2, 10.1, 1e8, 5.0)
    assert choose(best, lambda: [best, other, better], "minimize", "smallest") == better
    as_large = trial(3, 10.0, 3e8)
    assert choose(best, lambda: [as_large, best], "minimize", "smallest") == best


def test_a_small_model_of_the_best_trial_stays_the_champion() -> None:
    best, smaller = trial(0, 10.0, SMALL), trial(1, 10.1, 1e6, 5.0)
    assert choose(best, lambda: [best, smaller], "minimize", "smallest") == best


def test_trials_without_a_comparison_are_not_chosen() -> None:
    best, smaller = trial(0, 10.0, 3e8), TrialRecord(1, "COMPLETE", {}, {STEP: 10.1}, 10.1)
    assert choose(best, lambda: [best, smaller], "minimize", "smallest") == best
    assert choose(smaller, lambda: [best, smaller], "minimize", "smallest") == smaller


def test_the_message_names_both_trials() -> None:
    text = choice_message(trial(12, 16.62, 45e6), trial(7, 16.6, 310e6), "rmse")
    assert text == (
        "champion: trial 12 (45 MB) instead of the best trial 7 (310 MB): not shown to be worse, "
        "rmse 16.62 and 16.6; --champion best takes the best"
    )

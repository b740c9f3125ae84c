from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.forest.pruning import Incumbent, is_behind
from storage.records import Direction

DIRECTIONS: tuple[Direction, ...] = ("minimize", "maximize")
BLOCKS = st.lists(st.floats(-100, 100), min_size=2, max_size=20)


def worse(blocks: list[float], by: float, direction: Direction) -> list[float]:
    return [block + by if direction == "minimize" else block - by for block in blocks]


@given(BLOCKS, st.floats(0.01, 50), st.sampled_from(DIRECTIONS))
def test_a_trial_is_behind_if_every_block_is_worse_and_not_if_every_block_is_better(
    blocks: list[float], by: float, direction: Direction
) -> None:
    assert is_behind(worse(blocks, by, direction), blocks, direction)
    assert not is_behind(worse(blocks, -by, direction), blocks, direction)


@given(BLOCKS, st.sampled_from(DIRECTIONS))
def test_equal_trials_are_not_behind(blocks: list[float], direction: Direction) -> None:
    assert not is_behind(blocks, blocks, direction)
    negated = [-block for block in blocks]
    either = is_behind(blocks, negated, direction), is_behind(negated, blocks, direction)
    assert either != (True, True)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_difference_within_one_standard_error_is_not_behind(direction: Direction) -> None:
    noise = np.random.default_rng(0).normal(0, 1, 20)
    noise -= noise.mean()
    blocks = np.linspace(-3, 3, 20)
    error = noise.std(ddof=1) / np.sqrt(20)
    for behind, pruned in ((0.5 * error, False), (2.0 * error, True)):
        trial = worse(list(blocks + noise), behind, direction)
        assert is_behind(trial, list(blocks), direction) == pruned


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_differences_between_blocks_cancel_out(direction: Direction) -> None:
    """The blocks differ a thousand times more than the two forests do."""
    hard = [1000.0 * k for k in range(20)]
    differ = [0.5 + 0.1 * (k % 3) for k in range(20)]
    trial = [h + (d if direction == "minimize" else -d) for h, d in zip(hard, differ, strict=True)]
    assert is_behind(trial, hard, direction)


@given(BLOCKS, st.integers(0, 19), st.sampled_from(DIRECTIONS))
def test_nan_pseudo_values_never_prune(blocks: list[float], k: int, direction: Direction) -> None:
    trial = worse(blocks, 50, direction)
    trial[k % len(trial)] = float("nan")
    assert not is_behind(trial, blocks, direction)
    assert not is_behind(blocks, trial, direction)


def test_a_single_block_never_prunes() -> None:
    assert not is_behind([9.0], [1.0], "minimize")


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=12), st.sampled_from(DIRECTIONS))
def test_the_incumbent_is_the_first_trial_with_the_best_value(
    values: list[float], direction: Direction
) -> None:
    incumbent = Incumbent(direction)
    assert incumbent.pseudo_values == {}
    led = [incumbent.update(value, {16: (float(k),)}) for k, value in enumerate(values)]
    best = (min if direction == "minimize" else max)(values)
    assert incumbent.pseudo_values == {16: (float(values.index(best)),)}
    assert led[values.index(best)]
    leaders = [value for value, leads in zip(values, led, strict=True) if leads]
    assert all((b < a) == (direction == "minimize") and a != b for a, b in pairwise(leaders))


def test_the_incumbent_copies_its_pseudo_values() -> None:
    incumbent, blocks = Incumbent("minimize"), {16: (1.0, 2.0)}
    incumbent.update(1.0, blocks)
    blocks[64] = (3.0, 4.0)
    assert incumbent.pseudo_values == {16: (1.0, 2.0)}

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import PARAMS, grown, resampled
from numpy.typing import NDArray

from search.forest.growing import grow
from search.forest.resampling import Resampling, has_enough_oob_votes
from search.forest.training_set import TrainingSet

Array = NDArray[Any]
N = 60
THIRDS = tuple(
    (np.flatnonzero(np.arange(N) % 3 != k), np.flatnonzero(np.arange(N) % 3 == k)) for k in range(3)
)


def draw(
    resampling: Resampling,
    seed: int,
    chunk: int = 0,
    max_samples: float = 1.0,
    weights: Array | None = None,
    n_rows: int = N,
) -> tuple[Array, Array]:
    random = np.random.RandomState(seed)
    return resampling.draw(chunk, n_rows, max_samples, weights, random)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1.0), st.booleans())
def test_out_of_bag_a_tree_votes_on_exactly_the_rows_it_did_not_draw(
    seed: int, max_samples: float, weighted: bool
) -> None:
    weights = np.linspace(0.5, 1.5, N) if weighted else None
    counts, votes = draw(Resampling(), seed, max_samples=max_samples, weights=weights)
    assert counts.sum() == max(1, int(max_samples * N))
    np.testing.assert_array_equal(votes, np.flatnonzero(counts == 0))


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 1.0), st.integers(1, 30), st.booleans())
def test_rows_of_a_unit_are_drawn_together_and_voted_on_together(
    seed: int, max_samples: float, n_units: int, weighted: bool
) -> None:
    random = np.random.default_rng(seed)
    units = np.concatenate([np.arange(n_units), random.integers(0, n_units, N - n_units)])
    weights = random.uniform(0.5, 2.0, N) if weighted else None
    counts, votes = draw(Resampling(units), seed, max_samples=max_samples, weights=weights)
    if weights is not None:  # within a unit, a row counts in proportion to its weight
        mean = (np.bincount(units, weights) / np.bincount(units))[units]
        counts = counts * mean / weights
        np.testing.assert_allclose(counts, np.round(counts), atol=1e-9)
        counts = np.round(counts)
    for unit in range(n_units):
        own = np.flatnonzero(units == unit)
        assert len(set(counts[own])) == 1
        assert np.isin(own, votes).all() == (counts[own[0]] == 0)
        assert np.isin(own, votes).any() == (counts[own[0]] == 0)
    assert counts[np.unique(units, return_index=True)[1]].sum() == max(
        1, int(max_samples * n_units)
    )


def test_a_row_of_weight_zero_is_never_trained_on_but_voted_on_with_its_unit() -> None:
    units, weights = np.repeat(np.arange(50), 2), np.tile([0.0, 2.0], 50)
    counts, votes = draw(Resampling(units), 0, weights=weights, n_rows=100)
    assert not counts[::2].any()
    assert counts[1::2].any()
    np.testing.assert_array_equal(votes, np.flatnonzero(np.repeat(counts[1::2], 2) == 0))


@given(st.integers(0, 2**32 - 1), st.integers(0, 20), st.floats(0.05, 1.0), st.booleans())
def test_with_folds_a_tree_draws_training_rows_and_votes_on_the_test_rows(
    seed: int, chunk: int, max_samples: float, weighted: bool
) -> None:
    weights = np.linspace(0.5, 1.5, N) if weighted else None
    counts, votes = draw(Resampling(folds=THIRDS), seed, chunk, max_samples, weights)
    train, test = THIRDS[chunk % 3]
    assert not counts[np.setdiff1d(np.arange(N), train)].any()
    assert counts.sum() == max(1, int(max_samples * len(train)))
    np.testing.assert_array_equal(votes, test)


def test_chunks_cycle_through_the_folds_and_every_row_gets_equally_many_votes(
    diabetes: TrainingSet,
) -> None:
    numbers = np.arange(len(diabetes.y))
    folds = tuple((numbers[numbers % 4 != k], numbers[numbers % 4 == k]) for k in range(4))
    rows = resampled(diabetes, folds=folds)
    for chunk, sums in enumerate(grow(rows, PARAMS, 0, 0, range(8))):
        voted = np.flatnonzero(sums.votes)
        np.testing.assert_array_equal(voted, folds[chunk % 4][1])
        assert set(sums.votes[voted]) == {rows.chunk}
    assert set(grown(rows, PARAMS, rows.resampling.rungs[0]).votes) == {16}


def test_draws_depend_on_the_seed_only() -> None:
    for resampling in (Resampling(), Resampling(np.arange(N) // 3), Resampling(folds=THIRDS)):
        one, same, other = (draw(resampling, seed)[0] for seed in (1, 1, 2))
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, other)


def test_rows_are_out_of_bag_as_often_as_in_a_bootstrap(diabetes: TrainingSet) -> None:
    sums, n = grown(diabetes, PARAMS, 256), len(diabetes.y)
    assert sums.votes.mean() / sums.trees == pytest.approx((1 - 1 / n) ** n, abs=0.01)


@pytest.mark.parametrize("folds", [(), THIRDS], ids=["out-of-bag", "folds"])
def test_rows_are_drawn_in_proportion_to_their_weights(
    folds: tuple[tuple[Array, Array], ...],
) -> None:
    weights = np.tile([0.0, 0.5, 1.0, 1.5, 2.0], N // 5)
    resampling = Resampling(folds=folds)
    drawn = sum(draw(resampling, seed, seed, 1.0, weights)[0] for seed in range(1500))
    frequencies = np.array([np.sum(np.asarray(drawn)[weights == w]) for w in (0, 0.5, 1, 1.5, 2)])
    assert frequencies[0] == 0
    np.testing.assert_allclose(frequencies[1:] / frequencies.sum(), [0.1, 0.2, 0.3, 0.4], atol=0.01)


def test_units_are_drawn_in_proportion_to_the_mean_weight_of_their_rows() -> None:
    units, weights = np.array([0, 0, 0, 1, 2, 2]), np.array([1.0, 2, 3, 4, 0, 0])
    resampling = Resampling(units)
    drawn = sum(draw(resampling, seed, weights=weights, n_rows=6)[0] for seed in range(1000))
    first, second, third = np.asarray(drawn)[:3], drawn[3], drawn[4]
    assert second / first.mean() == pytest.approx(4 / 2, rel=0.1)
    assert first / first[0] == pytest.approx([1, 2, 3])
    assert third == 0


@settings(max_examples=60)
@given(st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_blocks_keep_units_together_and_have_equal_sizes(n_units: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    units = random.permutation(
        np.concatenate([np.arange(n_units), random.integers(0, n_units, 3 * n_units)])
    )
    blocks = Resampling(units).blocks(len(units))
    assert all(len(set(blocks[units == unit])) == 1 for unit in range(n_units))
    unit_blocks = blocks[np.unique(units, return_index=True)[1]]
    sizes = np.bincount(unit_blocks)
    assert len(sizes) == min(20, n_units)
    assert sizes.max() - sizes.min() <= 1


def test_blocks_are_reproducible_and_independent_of_the_row_order() -> None:
    blocks = Resampling().blocks(200)
    np.testing.assert_array_equal(blocks, Resampling().blocks(200))
    assert len(np.unique(blocks[:20])) > 5
    assert abs(np.corrcoef(blocks, np.arange(200))[0, 1]) < 0.2


def test_the_test_mask_holds_all_rows_out_of_bag_and_test_rows_with_folds() -> None:
    assert Resampling().test_mask(5).all()
    folds = ((np.array([0, 1]), np.array([2])), (np.array([0, 1, 2]), np.array([3])))
    np.testing.assert_array_equal(Resampling(folds=folds).test_mask(5), [0, 0, 1, 1, 0])


def test_every_fold_gets_equally_many_trees(diabetes: TrainingSet) -> None:
    assert all(trees % 3 == 0 for trees in Resampling(folds=THIRDS).rungs)
    assert Resampling(folds=THIRDS).rungs[0] == 3 * Resampling().rungs[0]


@pytest.mark.parametrize(
    ("weights", "n_classes", "enough"),
    [
        (np.ones(100), 0, True),
        (np.r_[np.full(50, 0.5), np.full(50, 1.5)], 0, True),
        (np.r_[np.full(99, 1.0), 5.0], 0, True),
        (np.r_[np.full(95, 1.0), np.full(5, 20.0)], 0, False),
        (np.r_[np.full(90, 0.0), np.full(10, 1.0)], 0, False),
        (np.r_[np.full(80, 1.0), np.full(20, 20.0)], 0, False),
        (np.r_[np.full(95, 1.0), np.full(5, 20.0)], 2, False),
    ],
    ids=["equal", "unequal", "one heavy", "half in a few", "all in a few", "many", "a class"],
)
def test_heavy_rows_have_too_few_out_of_bag_votes(
    weights: Array, n_classes: int, enough: bool
) -> None:
    y = (np.arange(100) >= 95).astype(int)
    assert has_enough_oob_votes(y, n_classes, weights) == enough
    assert has_enough_oob_votes(y, n_classes, weights * 7) == enough


def test_a_row_of_weight_w_is_out_of_bag_with_probability_exp_minus_w() -> None:
    weights = np.r_[np.full(180, 0.8), np.full(20, 2.8)]
    out = np.zeros(200)
    for seed in range(400):
        out[draw(Resampling(), seed, weights=weights, n_rows=200)[1]] += 1 / 400
    assert out[:180].mean() == pytest.approx(np.exp(-0.8), abs=0.02)
    assert out[180:].mean() == pytest.approx(np.exp(-2.8), abs=0.02)

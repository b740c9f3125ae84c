from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from search.optimization.proposer import Proposal, Proposer
from search.study.search_space import forest_key, make_space
from search.study.spec import Choice, Range
from storage.records import Direction, TrialRecord

N_ROWS, N_FEATURES = 400, 10
# Two times three forests, in nothing but choices.
SIX: dict[str, Choice] = {
    "splitter": "best",
    "max_features": 0.5,
    "max_samples": 1.0,
    "max_depth": (4, 8),
    "min_samples_leaf": (1, 2, 3),
}


def make(
    known: Iterable[TrialRecord] = (),
    changes: Mapping[str, Choice] | None = None,
    seed: int = 0,
    direction: Direction = "minimize",
) -> Proposer:
    space = make_space("regression", N_ROWS, N_FEATURES, changes or {})
    forests = partial(forest_key, n_rows=N_ROWS, n_features=N_FEATURES)
    return Proposer(direction, space, forests, seed, known)


def value_of(params: Mapping[str, Any]) -> float:
    """A made-up score: best at half of the columns, and small leaves."""
    return float((params["max_features"] - 0.5) ** 2 + 0.01 * params["min_samples_leaf"])


def ended(proposal: Proposal) -> TrialRecord:
    """How the trial ends: every third one is pruned at the first rung."""
    value, pruned = value_of(proposal.params), proposal.place % 3 == 1
    return TrialRecord(
        number=proposal.place,
        state="PRUNED" if pruned else "COMPLETE",
        params=proposal.params,
        scores={16: value} if pruned else {16: value + 1, 64: value},
        value=value,
        trees=16 if pruned else 64,
        place=proposal.place,
    )


def drawn(place: int) -> Proposal:
    """A proposal as of a sampler, for a long history without waiting for one."""
    random = np.random.default_rng(place)
    params = {
        "splitter": ("best", "random")[place % 2],
        "max_features": float(random.uniform(0.1, 1)),
        "min_samples_leaf": int(random.integers(1, 30)),
        "max_samples": float(random.uniform(0.3, 1)),
    }
    return Proposal(place, params)


def test_memory_is_bounded_and_what_is_proposed_follows_from_the_history_alone() -> None:
    """Live or rebuilt from the records, before and after trials are dropped from memory."""
    live, records = make(), list[TrialRecord]()
    sizes = []
    for place in range(1001):
        if place in {0, 1, 9, 40, 298, 299, 300, 301, 399, 400, 650, 1000}:
            proposal = live.propose(place)
            assert make(records).propose(place) == proposal
        else:
            proposal = live.propose(place, drawn(place).params)
        records.append(ended(proposal))
        live.finish(records[-1])
        sizes.append(len(live._ended))
        assert len(live._study.get_trials(deepcopy=False)) < 1000
    assert max(sizes) < 300
    assert max(sizes[:290]) == 290


def test_the_best_and_the_newest_are_remembered() -> None:
    proposer = make([ended(drawn(place)) for place in range(1000)])
    remembered = [t.params["max_features"] for t in proposer._ended]
    newest = [drawn(place).params["max_features"] for place in range(900, 1000)]
    assert remembered[-100:] == newest
    complete = [drawn(place) for place in range(1000) if place % 3 != 1]
    complete.sort(key=lambda proposal: value_of(proposal.params))
    assert {p.params["max_features"] for p in complete[:40]} <= set(remembered)


def test_the_order_in_which_the_records_are_given_changes_nothing() -> None:
    records = [ended(drawn(place)) for place in range(40)]
    assert make(records).propose(40) == make(records[::-1]).propose(40)


def test_seed_and_place_each_change_what_is_proposed() -> None:
    records = [ended(drawn(place)) for place in range(20)]
    first, second = make(records).propose(20).params, make(records).propose(21).params
    third = make(records, seed=1).propose(20).params
    assert first != second != third != first


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_sampler_learns_where_scores_are_good(direction: Direction) -> None:
    """The best half of the columns is found, or fled, by its score."""
    proposer = make(direction=direction)
    for place in range(60):
        proposer.finish(ended(proposer.propose(place)))
    later = [proposer.propose(place).params["max_features"] for place in range(60, 70)]
    distance = np.abs(np.array(later) - 0.5).mean()
    assert distance < 0.15 if direction == "minimize" else distance > 0.3


def test_where_another_score_guides_pruned_trials_are_ranked_by_the_metric() -> None:
    """Of a skill the higher is better, of the Brier score that prunes in its place the lower."""
    pruned = []
    for place in range(60):
        proposal = drawn(place)
        loss = (proposal.params["max_features"] - 0.5) ** 2
        record = replace(ended(proposal), state="PRUNED", scores={16: loss}, value=1 - loss)
        pruned.append(replace(record, trees=16))
    proposer = make(pruned, direction="maximize")
    later = [proposer.propose(place).params["max_features"] for place in range(60, 70)]
    assert np.abs(np.array(later) - 0.5).mean() < 0.15


def test_what_is_settled_is_proposed_as_it_is() -> None:
    params = drawn(3).params
    assert make().propose(3, params) == Proposal(3, params)


def test_running_trials_are_not_proposed_again() -> None:
    proposer = make(changes=SIX)
    proposals = [proposer.propose(place) for place in range(6)]
    assert [p.copies for p in proposals] == [None] * 6
    assert len({tuple(p.params.items()) for p in proposals}) == 6


@pytest.mark.parametrize("seed", range(12))
def test_of_few_forests_none_is_proposed_twice_before_all_were(seed: int) -> None:
    proposer, places = make(changes=SIX, seed=seed), dict[tuple[Any, ...], int]()
    for place in range(9):
        proposal = proposer.propose(place)
        forest = tuple(sorted(proposal.params.items()))
        assert proposal.copies == places.get(forest)
        assert (proposal.copies is None) == (place < 6)
        places.setdefault(forest, place)
        proposer.finish(ended(proposal))


def test_of_a_range_of_whole_numbers_each_is_proposed_before_one_is_repeated() -> None:
    changes: dict[str, Choice] = SIX | {"min_samples_leaf": Range(low=1, high=40), "max_depth": 4}
    proposer = make(changes=changes)
    leaves = []
    for place in range(40):
        proposal = proposer.propose(place)
        assert proposal.copies is None
        leaves.append(proposal.params["min_samples_leaf"])
        proposer.finish(ended(proposal))
    assert sorted(leaves) == list(range(1, 41))
    assert proposer.propose(40).copies is not None


def test_shares_of_as_many_columns_are_one_forest() -> None:
    proposer, params = make(), dict(drawn(0).params)
    assert proposer.propose(0, params | {"max_features": 0.51}).copies is None
    assert proposer.propose(1, params | {"max_features": 0.59}).copies == 0
    assert proposer.propose(2, params | {"max_features": 0.61}).copies is None


def test_what_came_to_nothing_may_be_proposed_again() -> None:
    proposer = make(changes=SIX)
    lost, *_ = (proposer.propose(place) for place in range(6))
    proposer.forget(0)
    again = proposer.propose(6)
    assert (again.params, again.copies) == (lost.params, None)
    assert proposer.propose(7, lost.params).copies == 6


def test_a_copy_that_is_forgotten_leaves_its_original_known() -> None:
    proposer, params = make(), drawn(0).params
    proposer.propose(0, params)
    assert proposer.propose(1, params).copies == 0
    proposer.forget(1)
    assert proposer.propose(2, params).copies == 0


def test_rebuilt_from_records_the_first_of_a_forest_is_the_original() -> None:
    records = [ended(Proposal(place, drawn(0).params)) for place in range(3)]
    assert make(records).propose(3, drawn(0).params).copies == 0

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
# Two times three forests: the space has categorical hyperparameters only.
SIX: dict[str, Choice] = {
    "splitter": "best",
    "max_features": 0.5,
    "max_samples": 1.0,
    "max_depth": (4, 8),
    "min_samples_leaf": (1, 2, 3),
}


def make_proposer(
    known: Iterable[TrialRecord] = (),
    changes: Mapping[str, Choice] | None = None,
    seed: int = 0,
    direction: Direction = "minimize",
) -> Proposer:
    space = make_space("regression", N_ROWS, N_FEATURES, changes or {})
    key = partial(forest_key, n_rows=N_ROWS, n_features={None: N_FEATURES})
    return Proposer(direction, space, key, seed, known)


def value_of(params: Mapping[str, Any]) -> float:
    """Return a made-up loss: lowest at half of the columns and small leaves."""
    return float((params["max_features"] - 0.5) ** 2 + 0.01 * params["min_samples_leaf"])


def finish(proposal: Proposal) -> TrialRecord:
    """Return the record of the finished trial; every third one is pruned at the first rung."""
    value, pruned = value_of(proposal.params), proposal.place % 3 == 1
    return TrialRecord(
        number=proposal.place,
        state="PRUNED" if pruned else "COMPLETE",
        params=proposal.params,
        scores={16: value} if pruned else {16: value + 1, 64: value},
        value=value,
        steps=16 if pruned else 64,
        place=proposal.place,
    )


def random_proposal(place: int) -> Proposal:
    """Return a random proposal, which is quicker than asking the sampler."""
    random = np.random.default_rng(place)
    params = {
        "splitter": ("best", "random")[place % 2],
        "max_features": float(random.uniform(0.1, 1)),
        "min_samples_leaf": int(random.integers(1, 30)),
        "max_samples": float(random.uniform(0.3, 1)),
    }
    return Proposal(place, params)


@pytest.mark.slow
def test_memory_is_bounded_and_proposals_depend_on_the_history_only() -> None:
    """They are equal if the proposer is rebuilt, before and after trials are dropped."""
    live, records = make_proposer(), list[TrialRecord]()
    sizes = []
    for place in range(1001):
        if place in {0, 1, 9, 40, 298, 299, 300, 301, 399, 400, 650, 1000}:
            proposal = live.propose(place)
            assert make_proposer(records).propose(place) == proposal
        else:
            proposal = live.propose(place, random_proposal(place).params)
        records.append(finish(proposal))
        live.finish(records[-1])
        sizes.append(len(live._finished))
        assert len(live._study.get_trials(deepcopy=False)) < 1000
    assert max(sizes) < 300
    assert max(sizes[:290]) == 290


def test_the_best_and_the_newest_trials_are_kept() -> None:
    proposer = make_proposer([finish(random_proposal(place)) for place in range(1000)])
    kept = [t.params["max_features"] for t in proposer._finished]
    newest = [random_proposal(place).params["max_features"] for place in range(900, 1000)]
    assert kept[-100:] == newest
    complete = [random_proposal(place) for place in range(1000) if place % 3 != 1]
    complete.sort(key=lambda proposal: value_of(proposal.params))
    assert {p.params["max_features"] for p in complete[:40]} <= set(kept)


def test_the_order_of_the_records_does_not_matter() -> None:
    records = [finish(random_proposal(place)) for place in range(40)]
    assert make_proposer(records).propose(40) == make_proposer(records[::-1]).propose(40)


def test_seed_and_place_each_change_the_proposal() -> None:
    records = [finish(random_proposal(place)) for place in range(20)]
    first, second = (
        make_proposer(records).propose(20).params,
        make_proposer(records).propose(21).params,
    )
    third = make_proposer(records, seed=1).propose(20).params
    assert first != second != third != first


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_sampler_learns_from_scores(direction: Direction) -> None:
    """It proposes about half of the columns, or avoids that, depending on the direction."""
    proposer = make_proposer(direction=direction)
    for place in range(60):
        proposer.finish(finish(proposer.propose(place)))
    later = [proposer.propose(place).params["max_features"] for place in range(60, 70)]
    distance = np.abs(np.array(later) - 0.5).mean()
    assert distance < 0.15 if direction == "minimize" else distance > 0.3


def test_pruned_trials_are_ranked_by_the_metric_and_not_by_its_guide() -> None:
    """The metric is a skill score, which is maximized; its guide is a loss."""
    pruned = []
    for place in range(60):
        proposal = random_proposal(place)
        loss = (proposal.params["max_features"] - 0.5) ** 2
        record = replace(finish(proposal), state="PRUNED", scores={16: loss}, value=1 - loss)
        pruned.append(replace(record, steps=16))
    proposer = make_proposer(pruned, direction="maximize")
    later = [proposer.propose(place).params["max_features"] for place in range(60, 70)]
    assert np.abs(np.array(later) - 0.5).mean() < 0.15


def test_given_hyperparameters_are_not_changed() -> None:
    params = random_proposal(3).params
    assert make_proposer().propose(3, params) == Proposal(3, params)


def test_running_trials_are_not_proposed_again() -> None:
    proposer = make_proposer(changes=SIX)
    proposals = [proposer.propose(place) for place in range(6)]
    assert [p.duplicate_of for p in proposals] == [None] * 6
    assert len({tuple(p.params.items()) for p in proposals}) == 6


@pytest.mark.parametrize("seed", range(12))
def test_in_a_small_space_no_forest_is_proposed_twice_before_all_were(seed: int) -> None:
    proposer, places = make_proposer(changes=SIX, seed=seed), dict[tuple[Any, ...], int]()
    for place in range(9):
        proposal = proposer.propose(place)
        forest = tuple(sorted(proposal.params.items()))
        assert proposal.duplicate_of == places.get(forest)
        assert (proposal.duplicate_of is None) == (place < 6)
        places.setdefault(forest, place)
        proposer.finish(finish(proposal))


def test_each_value_of_an_integer_range_is_proposed_before_one_is_repeated() -> None:
    changes: dict[str, Choice] = SIX | {"min_samples_leaf": Range(low=1, high=40), "max_depth": 4}
    proposer = make_proposer(changes=changes)
    leaves = []
    for place in range(40):
        proposal = proposer.propose(place)
        assert proposal.duplicate_of is None
        leaves.append(proposal.params["min_samples_leaf"])
        proposer.finish(finish(proposal))
    assert sorted(leaves) == list(range(1, 41))
    assert proposer.propose(40).duplicate_of is not None


def test_fractions_of_equally_many_columns_are_one_forest() -> None:
    proposer, params = make_proposer(), dict(random_proposal(0).params)
    assert proposer.propose(0, params | {"max_features": 0.51}).duplicate_of is None
    assert proposer.propose(1, params | {"max_features": 0.59}).duplicate_of == 0
    assert proposer.propose(2, params | {"max_features": 0.61}).duplicate_of is None


def test_a_failed_forest_may_be_proposed_again() -> None:
    proposer = make_proposer(changes=SIX)
    lost, *_ = (proposer.propose(place) for place in range(6))
    proposer.forget(0)
    again = proposer.propose(6)
    assert (again.params, again.duplicate_of) == (lost.params, None)
    assert proposer.propose(7, lost.params).duplicate_of == 6


def test_forgetting_a_duplicate_keeps_its_original() -> None:
    proposer, params = make_proposer(), random_proposal(0).params
    proposer.propose(0, params)
    assert proposer.propose(1, params).duplicate_of == 0
    proposer.forget(1)
    assert proposer.propose(2, params).duplicate_of == 0


def test_the_first_record_of_a_forest_is_the_original() -> None:
    records = [finish(Proposal(place, random_proposal(0).params)) for place in range(3)]
    assert make_proposer(records).propose(3, random_proposal(0).params).duplicate_of == 0

import time
from dataclasses import asdict, replace
from typing import Any

import psutil
import pytest
from distributed import Client
from distributed.security import Security
from made import PARAMS, assert_same, grown, make_training_set

from search.forest.oob import RungResult, evaluate_rung
from search.forest.training_set import TrainingSet
from search.workers.base import GrowthRequest, PendingGrowth, Workers
from search.workers.inline import InlineWorkers

RUNGS = (16, 64, 128)
PATIENCE = 60


def make_request(rows: TrainingSet, *rungs: int, start: int = 0, **changes: Any) -> GrowthRequest:
    made = GrowthRequest(
        key=5,
        seed=7,
        place=3,
        params=PARAMS,
        start=start,
        rungs=rungs,
        metric="rmse",
        incumbent={},
        chunk=rows.chunk,
    )
    return replace(made, **changes)


def arrived(workers: Workers, growth: PendingGrowth) -> list[RungResult] | Exception:
    """Wait for what came of a growth; of others, given up before, there may be something, too."""
    while True:
        key, which, results = workers.finished.get(timeout=PATIENCE)
        if which is growth:
            assert key == 5
            return results


def results_of(workers: Workers, growth: PendingGrowth) -> list[RungResult]:
    found = arrived(workers, growth)
    assert isinstance(found, list), found
    return found


def but_time(found: RungResult) -> dict[str, Any]:
    measured = {"seconds", "spans"}
    return {name: value for name, value in asdict(found).items() if name not in measured}


def test_an_order_is_cut_into_the_chunks_of_each_rung(few: TrainingSet) -> None:
    whole = make_request(few, *RUNGS)
    assert list(whole.chunks) == list(range(8))
    assert [list(step) for step in whole.steps()] == [[0], [1, 2, 3], [4, 5, 6, 7]]
    later = make_request(few, 128, start=64)
    assert list(later.chunks) == [4, 5, 6, 7]
    smaller = make_request(few, 16, 64, chunk=4)
    assert [len(step) for step in smaller.steps()] == [4, 12]


@pytest.fixture(params=["processes", "inline"])
def workers(request: pytest.FixtureRequest, few: TrainingSet) -> Workers:
    """Workers of each kind, that have the few rows."""
    if request.param == "processes":
        return request.getfixturevalue("two_workers")  # type: ignore[no-any-return]
    inline = InlineWorkers()
    inline.load(few)
    return inline


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_sums_are_the_same_to_the_last_bit_however_the_work_is_cut(
    workers: Workers, few: TrainingSet, parts: int
) -> None:
    growth, start = None, 0
    for rung in RUNGS:
        growth = workers.grow(make_request(few, rung, start=start), growth, parts)
        (found,) = results_of(workers, growth)
        assert growth.sums is not None
        expected = grown(few, PARAMS, rung, seed=7, place=3)
        assert_same(growth.sums.result(), expected)
        assert but_time(found) == but_time(evaluate_rung(expected, few, "rmse", {}))
        start = rung


def test_grown_to_its_end_a_trial_has_the_outcomes_that_it_has_rung_by_rung(
    workers: Workers, few: TrainingSet
) -> None:
    found = results_of(workers, workers.grow_to_end(make_request(few, *RUNGS)))
    assert [o.trees for o in found] == list(RUNGS)
    for rung, one in zip(RUNGS, found, strict=True):
        expected = evaluate_rung(grown(few, PARAMS, rung, 7, 3), few, "rmse", {})
        assert but_time(one) == but_time(expected)


def test_growing_ends_at_the_rung_where_a_rival_is_ahead(
    workers: Workers, few: TrainingSet
) -> None:
    blocks = evaluate_rung(grown(few, PARAMS, 64), few, "rmse", {}).pseudo_values
    better = {64: tuple(block - 20 for block in blocks)}
    behind = make_request(few, *RUNGS, incumbent=better)
    found = results_of(workers, workers.grow_to_end(behind))
    assert [(o.trees, o.behind) for o in found] == [(16, False), (64, True)]
    one = workers.grow(make_request(few, 64, incumbent=better), None)
    assert [(o.trees, o.behind) for o in results_of(workers, one)] == [(64, True)]


def test_seconds_are_those_of_all_its_trees(workers: Workers, few: TrainingSet) -> None:
    found = results_of(workers, workers.grow_to_end(make_request(few, *RUNGS)))
    seconds = [o.seconds for o in found]
    assert 0 < seconds[0] < seconds[1] < seconds[2]


def test_an_outcome_tells_which_workers_grew_it_and_when(
    two_workers: Workers, few: TrainingSet
) -> None:
    before = time.time()
    *_, short = results_of(two_workers, two_workers.grow_to_end(make_request(few, *RUNGS)))
    (span,) = short.spans  # chunks that a worker grew without a pause are one stretch
    assert span.worker in {"0", "1"}
    assert before - 0.001 <= span.began < span.ended <= time.time() + 0.001
    first = two_workers.grow(make_request(few, 64), None, 4)
    results_of(two_workers, first)
    (found,) = results_of(two_workers, two_workers.grow(make_request(few, 128, start=64), first, 4))
    assert len(found.spans) >= 2
    assert {span.worker for span in found.spans} <= {"0", "1"}


@pytest.mark.parametrize("parts", [1, 4])
def test_what_a_fit_raises_is_delivered(workers: Workers, few: TrainingSet, parts: int) -> None:
    wrong = make_request(few, 64, params={"max_depth": "deep"})
    assert isinstance(arrived(workers, workers.grow(wrong, None, parts)), Exception)
    assert isinstance(arrived(workers, workers.grow_to_end(wrong)), Exception)


def test_what_is_abandoned_is_delivered_as_an_error_and_the_workers_go_on(
    two_workers: Workers, few: TrainingSet
) -> None:
    long = make_request(few, 16 * 80)
    growths = [two_workers.grow(long, None, 8), two_workers.grow(make_request(few, 16), None)]
    for growth in growths:
        growth.cancel()
    assert isinstance(arrived(two_workers, growths[1]), BaseException)
    found = results_of(two_workers, two_workers.grow_to_end(make_request(few, *RUNGS)))
    assert len(found) == 3


def test_rows_that_are_loaded_later_take_the_place_of_the_earlier(
    two_workers: Workers, few: TrainingSet, cancer: TrainingSet
) -> None:
    two_workers.load(cancer)
    growth = two_workers.grow_to_end(make_request(cancer, 16, metric="log_loss"))
    (found,) = results_of(two_workers, growth)
    expected = evaluate_rung(grown(cancer, PARAMS, 16, 7, 3), cancer, "log_loss", {})
    assert but_time(found) == but_time(expected)
    half = make_training_set(few.X[:80], few.y[:80])
    two_workers.load(half)
    (found,) = results_of(two_workers, two_workers.grow_to_end(make_request(half, 16)))
    assert found.score == evaluate_rung(grown(half, PARAMS, 16, 7, 3), half, "rmse", {}).score


def test_a_local_cluster_listens_on_loopback_only(two_workers: Workers) -> None:
    this = psutil.Process()
    listening = [
        connection.laddr.ip
        for process in (this, *this.children(recursive=True))
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 3
    assert set(listening) == {"127.0.0.1"}


@pytest.mark.parametrize("own_keys", [False, True])
def test_a_local_cluster_runs_nothing_of_who_has_not_its_keys(
    two_workers: Workers, own_keys: bool
) -> None:
    """Whoever else is on this machine reaches its ports, too."""
    about = two_workers._client.scheduler_info()
    places = [about["address"], *(place for place in about["workers"]), *(
        worker["nanny"] for worker in about["workers"].values()
    )]  # fmt: skip
    assert len(places) == 5
    for place in places:
        assert place.startswith("tls://127.0.0.1:")
        address = place if own_keys else place.replace("tls", "tcp")
        security = Security.temporary() if own_keys else None
        with pytest.raises(OSError, match=r".*"):
            Client(address, security=security, timeout=5, set_as_default=False)

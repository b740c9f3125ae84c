import os
import threading
import time
from dataclasses import asdict, replace
from typing import Any

import psutil
import pytest
from distributed import Client
from distributed.security import Security
from made import PARAMS, assert_same, grown, make_training_set

from search.errors import StudyError
from search.forest.growing import ENCODING
from search.forest.oob import RungResult, evaluate_rung
from search.forest.training_set import PendingMatrix, TrainingSet
from search.workers.base import GrowthRequest, PendingGrowth, Workers
from search.workers.inline import InlineWorkers

RUNGS = (16, 64, 128)
TIMEOUT = 60


def make_request(
    training_set: TrainingSet, *rungs: int, start: int = 0, **changes: Any
) -> GrowthRequest:
    made = GrowthRequest(
        key=5,
        seed=7,
        place=3,
        params=PARAMS,
        start=start,
        rungs=rungs,
        rows=len(training_set.y),
        metric="rmse",
        incumbent={},
        chunk=training_set.chunk,
    )
    return replace(made, **changes)


def wait_for(workers: Workers, growth: PendingGrowth) -> list[RungResult] | Exception:
    """Wait for the results or the error of a growth; skip those of cancelled growths."""
    while True:
        key, which, results = workers.finished.get(timeout=TIMEOUT)
        if which is growth:
            assert key == 5
            return results


def results_of(workers: Workers, growth: PendingGrowth) -> list[RungResult]:
    found = wait_for(workers, growth)
    assert isinstance(found, list), found
    return found


def without_times(result: RungResult) -> dict[str, Any]:
    measured = {"seconds", "spans"}
    return {name: value for name, value in asdict(result).items() if name not in measured}


def test_a_request_is_divided_into_the_chunks_of_each_rung(few: TrainingSet) -> None:
    whole = make_request(few, *RUNGS)
    assert list(whole.chunks) == list(range(8))
    assert [list(step) for step in whole.chunks_by_rung()] == [[0], [1, 2, 3], [4, 5, 6, 7]]
    later = make_request(few, 128, start=64)
    assert list(later.chunks) == [4, 5, 6, 7]
    smaller = make_request(few, 16, 64, chunk=4)
    assert [len(step) for step in smaller.chunks_by_rung()] == [4, 12]


@pytest.fixture(params=["processes", "inline"])
def workers(request: pytest.FixtureRequest, few: TrainingSet) -> Workers:
    """Workers of each kind, with the small training set."""
    if request.param == "processes":
        return request.getfixturevalue("two_workers")  # type: ignore[no-any-return]
    inline = InlineWorkers()
    inline.load(few)
    return inline


@pytest.mark.parametrize("parts", [1, pytest.param(2, marks=pytest.mark.slow), 4])
def test_sums_are_bit_for_bit_equal_for_any_number_of_parts(
    workers: Workers, few: TrainingSet, parts: int
) -> None:
    growth, start = None, 0
    for rung in RUNGS:
        growth = workers.grow(make_request(few, rung, start=start), growth, parts)
        (found,) = results_of(workers, growth)
        assert growth.sums is not None
        expected = grown(few, PARAMS, rung, seed=7, place=3)
        assert_same(growth.sums.result(), expected)
        assert without_times(found) == without_times(evaluate_rung(expected, few, "rmse", {}))
        start = rung


def test_growing_to_the_end_gives_the_results_of_growing_rung_by_rung(
    workers: Workers, few: TrainingSet
) -> None:
    found = results_of(workers, workers.grow_to_end(make_request(few, *RUNGS)))
    assert [r.trees for r in found] == list(RUNGS)
    for rung, one in zip(RUNGS, found, strict=True):
        expected = evaluate_rung(grown(few, PARAMS, rung, 7, 3), few, "rmse", {})
        assert without_times(one) == without_times(expected)


def test_growing_ends_at_the_first_rung_where_the_trial_is_behind(
    workers: Workers, few: TrainingSet
) -> None:
    pseudo_values = evaluate_rung(grown(few, PARAMS, 64), few, "rmse", {}).pseudo_values
    better = {64: tuple(value - 20 for value in pseudo_values)}
    behind = make_request(few, *RUNGS, incumbent=better)
    found = results_of(workers, workers.grow_to_end(behind))
    assert [(r.trees, r.behind) for r in found] == [(16, False), (64, True)]
    one = workers.grow(make_request(few, 64, incumbent=better), None)
    assert [(r.trees, r.behind) for r in results_of(workers, one)] == [(64, True)]


def test_seconds_accumulate_over_rungs(workers: Workers, few: TrainingSet) -> None:
    found = results_of(workers, workers.grow_to_end(make_request(few, *RUNGS)))
    seconds = [r.seconds for r in found]
    assert 0 < seconds[0] < seconds[1] < seconds[2]


def test_spans_name_the_workers_and_times_of_a_result(
    two_workers: Workers, few: TrainingSet
) -> None:
    before = time.time()
    *_, short = results_of(two_workers, two_workers.grow_to_end(make_request(few, *RUNGS)))
    (span,) = short.spans  # chunks grown without a pause are merged into one span
    assert span.worker in {"0", "1"}
    assert before - 0.001 <= span.began < span.ended <= time.time() + 0.001
    first = two_workers.grow(make_request(few, 64), None, 4)
    results_of(two_workers, first)
    (found,) = results_of(two_workers, two_workers.grow(make_request(few, 128, start=64), first, 4))
    assert len(found.spans) >= 2
    assert {span.worker for span in found.spans} <= {"0", "1"}


@pytest.mark.parametrize("parts", [1, 4])
def test_errors_of_a_fit_are_delivered(workers: Workers, few: TrainingSet, parts: int) -> None:
    wrong = make_request(few, 64, params={"max_depth": "deep"})
    assert isinstance(wait_for(workers, workers.grow(wrong, None, parts)), Exception)
    assert isinstance(wait_for(workers, workers.grow_to_end(wrong)), Exception)


def test_cancelled_growths_are_delivered_as_errors_and_workers_continue(
    two_workers: Workers, few: TrainingSet
) -> None:
    long = make_request(few, 16 * 80)
    growths = [two_workers.grow(long, None, 8), two_workers.grow(make_request(few, 16), None)]
    for growth in growths:
        growth.cancel()
    assert isinstance(wait_for(two_workers, growths[1]), BaseException)
    found = results_of(two_workers, two_workers.grow_to_end(make_request(few, *RUNGS)))
    assert len(found) == 3


def test_loading_another_training_set_replaces_the_first(
    two_workers: Workers, few: TrainingSet, cancer: TrainingSet
) -> None:
    two_workers.load(cancer)
    growth = two_workers.grow_to_end(make_request(cancer, 16, metric="log_loss"))
    (found,) = results_of(two_workers, growth)
    expected = evaluate_rung(grown(cancer, PARAMS, 16, 7, 3), cancer, "log_loss", {})
    assert without_times(found) == without_times(expected)
    half = make_training_set(few.X[:80], few.y[:80])
    two_workers.load(half)
    (found,) = results_of(two_workers, two_workers.grow_to_end(make_request(half, 16)))
    assert found.score == evaluate_rung(grown(half, PARAMS, 16, 7, 3), half, "rmse", {}).score


def test_a_trial_in_the_default_encoding_does_not_wait_for_the_others(
    two_workers: Workers, few: TrainingSet
) -> None:
    needed = threading.Event()

    def compute() -> Any:
        assert needed.wait(TIMEOUT)
        return few.X[:, ::-1]

    rows = replace(few, encodings={"reversed": PendingMatrix(few.X.shape[1], compute)})
    two_workers.load(rows)
    other = PARAMS | {ENCODING: "reversed"}
    waiting = two_workers.grow_to_end(make_request(rows, 16, params=other))
    (found,) = results_of(two_workers, two_workers.grow_to_end(make_request(rows, 16)))
    assert found.score == evaluate_rung(grown(few, PARAMS, 16, 7, 3), few, "rmse", {}).score
    needed.set()
    (found,) = results_of(two_workers, waiting)
    assert found.score == evaluate_rung(grown(rows, other, 16, 7, 3), rows, "rmse", {}).score
    two_workers.load(few)


def test_an_encoding_that_fails_is_reported(two_workers: Workers, few: TrainingSet) -> None:
    def fail() -> Any:
        raise MemoryError("no memory is left")

    def watch() -> None:
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            two_workers.present()
            time.sleep(0.05)

    two_workers.load(replace(few, encodings={"target": PendingMatrix(9, fail)}))
    with pytest.raises(StudyError, match="rows cannot be encoded: no memory is left"):
        watch()
    two_workers.load(few)
    assert two_workers.present() == 2


def test_a_local_cluster_listens_on_loopback_only(two_workers: Workers) -> None:
    # Other children of this process, such as a server that other tests use, are not examined.
    pids = [os.getpid(), *two_workers._client.run(os.getpid).values()]
    listening = [
        connection.laddr.ip
        for pid in pids
        for connection in psutil.Process(pid).net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 3
    assert set(listening) == {"127.0.0.1"}


@pytest.mark.parametrize("own_keys", [False, True])
def test_a_local_cluster_rejects_clients_without_its_keys(
    two_workers: Workers, own_keys: bool
) -> None:
    """Other users of this machine can reach its ports."""
    scheduler = two_workers._client.scheduler_info()
    addresses = [scheduler["address"], *scheduler["workers"], *(
        worker["nanny"] for worker in scheduler["workers"].values()
    )]  # fmt: skip
    assert len(addresses) == 5
    for address in addresses:
        assert address.startswith("tls://127.0.0.1:")
        target = address if own_keys else address.replace("tls", "tcp")
        security = Security.temporary() if own_keys else None
        with pytest.raises(OSError, match=r".*"):
            Client(target, security=security, timeout=5, set_as_default=False)

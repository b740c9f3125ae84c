import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.forest.resampling import CHUNK
from search.workers.task_sizing import TaskSizer

SMALL = 4420  # rows times columns of the diabetes data
RUNG = 64 // CHUNK


def make_sizer(workers: int, seconds: float) -> TaskSizer:
    """Return a task sizer that has observed many trees of `seconds` each."""
    task_sizer = TaskSizer(lambda: workers, SMALL)
    for _ in range(100):
        task_sizer.observe(seconds)
    return task_sizer


def parts(task_sizer: TaskSizer, chunks: int = 1000) -> int:
    return task_sizer.parts(chunks, CHUNK)


def test_short_work_is_one_task() -> None:
    task_sizer = TaskSizer(lambda: 8, SMALL)
    assert parts(task_sizer, RUNG) == 1
    assert task_sizer.is_short(128)


def test_long_work_is_divided_so_that_no_task_takes_longer_than_ten_seconds() -> None:
    task_sizer = make_sizer(1, 59 / 1000 / CHUNK)
    assert parts(task_sizer) == 6
    assert parts(make_sizer(1, 61 / 1000 / CHUNK)) == 7
    assert not task_sizer.is_short(1000 * CHUNK)


def test_work_is_divided_for_idle_workers_as_long_as_each_part_takes_a_second() -> None:
    for seconds, expected in ((0.9, 1), (1.9, 1), (2.1, 2), (3.9, 3), (9.0, 4)):
        assert parts(make_sizer(4, seconds / 1000 / CHUNK)) == expected


def test_work_is_not_divided_for_busy_workers() -> None:
    task_sizer = make_sizer(4, 8 / 1000 / CHUNK)
    assert parts(task_sizer) == 4
    task_sizer.add("one", 2)
    assert parts(task_sizer) == 2
    task_sizer.add("other", 2)
    assert parts(task_sizer) == 1
    task_sizer.remove("one")
    assert parts(task_sizer) == 2


@given(st.integers(1, 64), st.floats(1e-6, 10.0), st.integers(1, 200), st.integers(0, 70))
def test_parts_take_between_one_and_ten_seconds_unless_they_are_a_single_chunk(
    workers: int, seconds: float, chunks: int, busy: int
) -> None:
    task_sizer = make_sizer(workers, seconds)
    task_sizer.add("other", busy)
    count = parts(task_sizer, chunks)
    assert 1 <= count <= chunks
    sizes = [(k + 1) * chunks // count - k * chunks // count for k in range(count)]
    if count > 1:
        assert min(sizes) * seconds * CHUNK >= 1.0 - 1e-6
    if max(sizes) > 1:
        assert max(sizes) * seconds * CHUNK <= 10.0 + 1e-6


def test_a_single_worker_gets_one_task_at_a_time() -> None:
    task_sizer = TaskSizer(lambda: 1, SMALL)
    assert task_sizer.has_room()
    task_sizer.add("growth", 1)
    assert not task_sizer.has_room()
    task_sizer.remove("growth")
    assert task_sizer.has_room()


def test_several_workers_have_one_waiting_task() -> None:
    task_sizer = TaskSizer(lambda: 3, SMALL)
    for growth in range(4):
        assert task_sizer.has_room()
        task_sizer.add(growth, 1)
    assert not task_sizer.has_room()
    task_sizer.remove(2)
    task_sizer.add(5, 3)
    assert not task_sizer.has_room()
    for growth in (0, 1, 3):
        task_sizer.remove(growth)
    assert task_sizer.has_room()


@pytest.mark.parametrize(("workers", "expected"), [(2, 3), (15, 16), (16, 18), (64, 72)])
def test_many_workers_have_more_waiting_tasks(workers: int, expected: int) -> None:
    task_sizer = TaskSizer(lambda: workers, SMALL)
    added = 0
    while task_sizer.has_room():
        task_sizer.add(added, 1)
        added += 1
    assert added == expected


def test_the_initial_estimate_grows_with_the_table() -> None:
    short = [TaskSizer(lambda: 1, n_values).is_short(128) for n_values in (10**3, 10**5, 10**8)]
    assert short[0]
    assert not short[2]


def test_the_estimate_follows_observations() -> None:
    task_sizer = TaskSizer(lambda: 1, 10**3)
    assert task_sizer.is_short(100)
    task_sizer.observe(1.0)
    assert not task_sizer.is_short(100)
    for _ in range(50):
        task_sizer.observe(0.001)
    assert task_sizer.is_short(100)


@pytest.mark.parametrize(("trees", "expected"), [(1, 16), (4, 16), (16, 20)])
def test_work_is_divided_between_chunks_only(trees: int, expected: int) -> None:
    """With half a second per tree, a task is twenty trees, but only one chunk of sixteen."""
    assert make_sizer(1, 0.5).parts(320 // trees, trees) == expected

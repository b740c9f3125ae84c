import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.forest.resampling import CHUNK
from search.workers.task_sizing import TaskSizer

SMALL = 4420  # rows times columns of the diabetes data
RUNG = 64 // CHUNK


def paced(workers: int, seconds: float) -> TaskSizer:
    """Return a task sizer that has observed many trees of `seconds` each."""
    task_sizer = TaskSizer(lambda: workers, SMALL)
    for _ in range(100):
        task_sizer.learn(seconds)
    return task_sizer


def parts(task_sizer: TaskSizer, chunks: int = 1000) -> int:
    return task_sizer.parts(chunks, CHUNK)


def test_short_work_is_one_task() -> None:
    task_sizer = TaskSizer(lambda: 8, SMALL)
    assert parts(task_sizer, RUNG) == 1
    assert task_sizer.is_short(128)


def test_long_work_is_cut_so_that_no_task_takes_longer_than_ten_seconds() -> None:
    task_sizer = paced(1, 59 / 1000 / CHUNK)
    assert parts(task_sizer) == 6
    assert parts(paced(1, 61 / 1000 / CHUNK)) == 7
    assert not task_sizer.is_short(1000 * CHUNK)


def test_idle_workers_are_filled_as_long_as_each_part_takes_a_second() -> None:
    for seconds, expected in ((0.9, 1), (1.9, 1), (2.1, 2), (3.9, 3), (9.0, 4)):
        assert parts(paced(4, seconds / 1000 / CHUNK)) == expected


def test_busy_workers_are_left_alone() -> None:
    task_sizer = paced(4, 8 / 1000 / CHUNK)
    assert parts(task_sizer) == 4
    task_sizer.begun("one", 2)
    assert parts(task_sizer) == 2
    task_sizer.begun("other", 2)
    assert parts(task_sizer) == 1
    task_sizer.ended("one")
    assert parts(task_sizer) == 2


@given(st.integers(1, 64), st.floats(1e-6, 10.0), st.integers(1, 200), st.integers(0, 70))
def test_parts_are_never_shorter_than_a_second_nor_longer_than_ten_unless_a_chunk_is(
    workers: int, seconds: float, chunks: int, busy: int
) -> None:
    task_sizer = paced(workers, seconds)
    task_sizer.begun("other", busy)
    count = parts(task_sizer, chunks)
    assert 1 <= count <= chunks
    stretches = [(k + 1) * chunks // count - k * chunks // count for k in range(count)]
    if count > 1:
        assert min(stretches) * seconds * CHUNK >= 1.0 - 1e-6
    if max(stretches) > 1:
        assert max(stretches) * seconds * CHUNK <= 10.0 + 1e-6


def test_a_single_worker_gets_one_task_at_a_time() -> None:
    task_sizer = TaskSizer(lambda: 1, SMALL)
    assert task_sizer.has_room()
    task_sizer.begun("growth", 1)
    assert not task_sizer.has_room()
    task_sizer.ended("growth")
    assert task_sizer.has_room()


def test_several_workers_get_one_task_more_than_they_are() -> None:
    task_sizer = TaskSizer(lambda: 3, SMALL)
    for growth in range(4):
        assert task_sizer.has_room()
        task_sizer.begun(growth, 1)
    assert not task_sizer.has_room()
    task_sizer.ended(2)
    task_sizer.begun(5, 3)
    assert not task_sizer.has_room()
    for growth in (0, 1, 3):
        task_sizer.ended(growth)
    assert task_sizer.has_room()


@pytest.mark.parametrize(("workers", "most"), [(2, 3), (15, 16), (16, 18), (64, 72)])
def test_many_workers_have_more_tasks_waiting(workers: int, most: int) -> None:
    task_sizer = TaskSizer(lambda: workers, SMALL)
    begun = 0
    while task_sizer.has_room():
        task_sizer.begun(begun, 1)
        begun += 1
    assert begun == most


def test_the_first_guess_grows_with_the_table() -> None:
    guesses = [TaskSizer(lambda: 1, n_values).is_short(128) for n_values in (10**3, 10**5, 10**8)]
    assert guesses[0]
    assert not guesses[2]


def test_what_trees_take_is_learned() -> None:
    task_sizer = TaskSizer(lambda: 1, 10**3)
    assert task_sizer.is_short(100)
    task_sizer.learn(1.0)
    assert not task_sizer.is_short(100)
    for _ in range(50):
        task_sizer.learn(0.001)
    assert task_sizer.is_short(100)


@pytest.mark.parametrize(("trees", "expected"), [(1, 16), (4, 16), (16, 20)])
def test_work_is_cut_between_chunks(trees: int, expected: int) -> None:
    """Of trees of half a second, twenty are a task, but of chunks of sixteen one."""
    assert paced(1, 0.5).parts(320 // trees, trees) == expected

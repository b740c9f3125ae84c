import numpy as np
import pytest
from made import make_training_set

from search.errors import DataError
from search.forest.memory import check_memory
from search.forest.training_set import TrainingSet
from search.formatting import size


def make_large(n_rows: int, n_features: int, n_classes: int = 0) -> TrainingSet:
    """Return a training set that repeats one value and takes no memory."""
    X = np.broadcast_to(np.float32(0), (n_rows, n_features))
    y = np.broadcast_to(np.int64(0), (n_rows,))
    return TrainingSet(X, y, n_classes)


def test_small_studies_are_not_reported() -> None:
    assert check_memory(make_training_set(np.zeros((100, 4)), np.zeros(100)), 2) is None


def test_the_memory_need_of_a_large_study_is_reported() -> None:
    assert check_memory(make_large(200_000, 4), 2) == (
        "memory: 3.2 MB for the table, shared by the workers, and up to 286 MB in each of them"
    )


def test_a_study_that_does_not_fit_is_refused_with_ways_to_reduce_its_need() -> None:
    with pytest.raises(DataError) as error:
        check_memory(make_large(10**9, 10), 2)
    assert "1000000000 rows need" in str(error.value)
    assert "40 GB for the table" in str(error.value)
    assert "fewer --workers" in str(error.value)
    with pytest.raises(DataError, match=r"10000000 rows x 1000 classes need"):
        check_memory(make_large(10**7, 1, 1000), 2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (1_234_000, "1.23 MB"),
        (20.5e9, "20.5 GB"),
        (3e15, "3e+03 TB"),
    ],
)
def test_sizes_are_written_with_three_digits_and_a_unit(n_bytes: float, text: str) -> None:
    assert size(n_bytes) == text

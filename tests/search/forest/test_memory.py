import numpy as np
import pytest
from made import rows_of

from search.errors import DataError
from search.forest import memory
from search.forest.memory import check_memory
from search.forest.training_set import TrainingSet
from search.formatting import size


def wide(n_rows: int, n_features: int, n_classes: int = 0) -> TrainingSet:
    """Rows that only seem to be there: one value, looked at many times."""
    X = np.broadcast_to(np.float32(0), (n_rows, n_features))
    y = np.broadcast_to(np.int64(0), (n_rows,))
    return TrainingSet(X, y, n_classes)


def test_of_a_small_study_nothing_is_said() -> None:
    assert check_memory(rows_of(np.zeros((100, 4)), np.zeros(100)), 2) is None


def test_of_a_larger_one_it_is_said_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_WORTH_A_WORD", 1e6)
    said = check_memory(wide(100_000, 4), 2)
    assert said is not None
    assert said.startswith("memory: 1.6 MB for the table, shared by the workers, and up to 2")


def test_what_does_not_fit_is_refused_with_what_would_lessen_it() -> None:
    with pytest.raises(DataError) as error:
        check_memory(wide(10**9, 10), 2)
    assert "1000000000 rows take" in str(error.value)
    assert "40 GB for the table" in str(error.value)
    assert "fewer --workers" in str(error.value)
    with pytest.raises(DataError, match=r"10000000 rows x 1000 classes take"):
        check_memory(wide(10**7, 1, 1000), 2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("n_bytes", "said"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (1_234_000, "1.23 MB"),
        (20.5e9, "20.5 GB"),
        (3e15, "3e+03 TB"),
    ],
)
def test_sizes_are_written_for_people(n_bytes: float, said: str) -> None:
    assert size(n_bytes) == said

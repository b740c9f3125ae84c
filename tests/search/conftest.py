"""Real data and real worker processes, shared by the tests of the package."""

from collections.abc import Iterator

import pytest
from made import make_training_set
from sklearn.datasets import load_breast_cancer, load_diabetes

from search.forest.training_set import TrainingSet
from search.workers.base import Workers
from search.workers.local import LocalWorkers, prepare


@pytest.fixture(scope="session")
def diabetes() -> TrainingSet:
    X, y = load_diabetes(return_X_y=True)
    return make_training_set(X, y)


@pytest.fixture(scope="session")
def few(diabetes: TrainingSet) -> TrainingSet:
    """The first 150 rows of the diabetes data, for quick searches."""
    return make_training_set(diabetes.X[:150], diabetes.y[:150])


@pytest.fixture(scope="session")
def cancer() -> TrainingSet:
    X, y = load_breast_cancer(return_X_y=True)
    return make_training_set(X, y, 2)


@pytest.fixture(scope="session")
def pool_of_one() -> Iterator[Workers]:
    prepare()
    with LocalWorkers(1) as workers:
        yield workers


@pytest.fixture(scope="session")
def pool_of_two() -> Iterator[Workers]:
    prepare()
    with LocalWorkers(2) as workers:
        yield workers


@pytest.fixture
def one_worker(pool_of_one: Workers, few: TrainingSet) -> Workers:
    """One worker that has the few rows."""
    pool_of_one.load(few)
    return pool_of_one


@pytest.fixture
def two_workers(pool_of_two: Workers, few: TrainingSet) -> Workers:
    """Two workers that have the few rows."""
    pool_of_two.load(few)
    return pool_of_two

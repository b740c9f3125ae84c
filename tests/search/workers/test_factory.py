from collections.abc import Iterator

import dask
import pytest

from search.study.spec import StudySpec
from search.workers.factory import scheduler_of, workers_for
from search.workers.local import LocalWorkers
from search.workers.remote import RemoteWorkers


@pytest.fixture(autouse=True)
def without_configured_cluster() -> Iterator[None]:
    """Remove a scheduler address that other tests may have configured."""
    with dask.config.set({"scheduler-address": None}):
        yield


def test_the_scheduler_comes_from_the_specification_or_else_from_dasks_configuration() -> None:
    here, there = StudySpec(workers=2), StudySpec(scheduler="tcp://a:1")
    assert scheduler_of(here) is None
    assert isinstance(workers_for(here, "uid", lambda: None), LocalWorkers)
    assert scheduler_of(there) == "tcp://a:1"
    assert isinstance(workers_for(there, "uid", lambda: None), RemoteWorkers)
    with dask.config.set({"scheduler-address": "tcp://b:1"}):
        assert scheduler_of(here) == "tcp://b:1"
        assert scheduler_of(there) == "tcp://a:1"

from collections.abc import Iterator

import dask
import pytest

from search.study.spec import StudySpec
from search.workers.factory import scheduler_of, workers_for
from search.workers.local import LocalWorkers
from search.workers.remote import RemoteWorkers


@pytest.fixture(autouse=True)
def without_a_cluster() -> Iterator[None]:
    """Whatever cluster other tests have named for their own."""
    with dask.config.set({"scheduler-address": None}):
        yield


def test_trees_grow_here_or_where_the_specification_or_dasks_settings_say() -> None:
    here, there = StudySpec(workers=2), StudySpec(scheduler="tcp://a:1")
    assert scheduler_of(here) is None
    assert isinstance(workers_for(here, "uid", lambda: None), LocalWorkers)
    assert scheduler_of(there) == "tcp://a:1"
    assert isinstance(workers_for(there, "uid", lambda: None), RemoteWorkers)
    with dask.config.set({"scheduler-address": "tcp://b:1"}):
        assert scheduler_of(here) == "tcp://b:1"
        assert scheduler_of(there) == "tcp://a:1"

"""Errors of tables, from reading to the champion."""

from made import make_dataset

from search.data.limits import Limits
from search.errors import SearchError
from search.forest.growing import grow
from search.model.champion import make_champion
from search.study.problem import make_problem
from search.study.spec import make_spec

_MAX_VALUES = 1000


def error_of(source: str, target: str | None) -> str:
    """Read a table and make a champion from it; return the message of a `SearchError`, or "".

    Any other error fails the test. Large tables are only read.
    """
    try:
        dataset = make_dataset(source, target, limits=Limits(max_bytes=10**9))
        if dataset.features.size <= _MAX_VALUES:
            problem = make_problem(
                make_spec({"data": source, "target": target, "holdout": 0.0}), dataset
            )
            next(grow(problem.training_set, {}, 0, 0, [0]))
            make_champion(dataset, problem.metric, {}, 2, 0, jobs=1)
    except SearchError as error:
        return str(error)
    return ""

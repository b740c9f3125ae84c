"""Hyperparameter search for random forests: propose, grow, compare, and keep the best.

From Python::

    from search import StudySpec, launch

    result = launch(StudySpec(data="houses.csv", target="price", metric="mae", trials=100))
    result.best_params, result.holdout, result.model_uri

As scikit-learn estimators::

    from search import ForestSearchRegressor

    forest = ForestSearchRegressor(metric="mae", trials=100, random_state=0).fit(X, y)
"""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.api import Result, launch
    from search.estimators.base import ForestSearchClassifier, ForestSearchRegressor
    from search.study.spec import Range, StudySpec

__all__ = [
    "ForestSearchClassifier",
    "ForestSearchRegressor",
    "Range",
    "Result",
    "StudySpec",
    "launch",
]

_HOMES = {
    "ForestSearchClassifier": "search.estimators.base",
    "ForestSearchRegressor": "search.estimators.base",
    "Range": "search.study.spec",
    "Result": "search.api",
    "StudySpec": "search.study.spec",
    "launch": "search.api",
}


logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    """Import a public name on first use: the command line starts without most of them."""
    if name not in _HOMES:
        raise AttributeError(f"module 'search' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)

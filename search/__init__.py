"""Searches for the hyperparameters of random forests, and registers and promotes the best forest.

The package decides and runs; it may import `storage`, which stores the results. Its sub-packages
are layers that import each other in one direction (see CONTRIBUTING.md). Start at `service.launch`,
the way of one study from its specification to a registered model. The public names below are also
the public names of the package `grovekeeper`.
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

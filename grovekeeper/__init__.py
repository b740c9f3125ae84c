"""Hyperparameter search for random forests: the public names of the project.

This package re-exports the public names of `search` and `storage` and holds nothing else. It may
import both; neither imports it. Start reading at `search/api.py` (`launch`) and
`search/estimators/base.py`; the command line, ``python -m grovekeeper``, is in `search/cli/app.py`.

Run a study from Python::

    from grovekeeper import StudySpec, launch

    result = launch(StudySpec(data="houses.csv", target="price", metric="mae", trials=100))
    result.best_params, result.holdout, result.model_uri

Use the scikit-learn estimators::

    from grovekeeper import ForestSearchRegressor

    forest = ForestSearchRegressor(metric="mae", trials=100, random_state=0).fit(X, y)

Mirror any Optuna study to MLflow::

    from grovekeeper import MLflowMirror

    with MLflowMirror() as mirror:
        study.optimize(objective, n_trials=100, callbacks=[mirror])
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search import (
        ForestSearchClassifier,
        ForestSearchRegressor,
        Range,
        Result,
        StudySpec,
        launch,
    )
    from storage import MLflowMirror

    __version__: str

__all__ = [
    "ForestSearchClassifier",
    "ForestSearchRegressor",
    "MLflowMirror",
    "Range",
    "Result",
    "StudySpec",
    "__version__",
    "launch",
]


def _shadowing() -> str | None:
    """Return an error message if `search` or `storage` would be imported from somewhere else.

    Both names are common. A folder or a file of the same name in the working directory, or another
    distribution, may come first on `sys.path`.
    """
    here = Path(__file__).parent.parent
    for name in ("search", "storage"):
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            return f"package '{name}' is missing in {here}; reinstall grovekeeper"
        origin = Path(spec.origin)
        if origin.resolve() != (here / name / "__init__.py").resolve():
            path = origin.parent if origin.name == "__init__.py" else origin
            return (
                f"{path} shadows Grovekeeper's package '{name}'; rename it, run from another "
                "folder, or uninstall the distribution that it belongs to"
            )
    return None


_problem = _shadowing()
if _problem:
    # `python -m grovekeeper` and the console script import this package before any code of the
    # command line can catch an error: exit with one line instead of a traceback.
    if Path(*sys.argv[:1]).stem in {"-m", "grovekeeper"}:
        sys.exit(f"grovekeeper: {_problem}")
    raise ImportError(_problem)


def __getattr__(name: str) -> Any:
    """Import a public name on first use: the package alone imports quickly."""
    if name == "__version__":
        from importlib.metadata import version

        return version("grovekeeper")
    if name not in __all__:
        raise AttributeError(f"module 'grovekeeper' has no attribute '{name}'")
    return getattr(import_module("storage" if name == "MLflowMirror" else "search"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

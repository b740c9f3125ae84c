"""Keeps things: Optuna's database, its MLflow mirror, the registry. Knows nothing of forests.

For any Optuna study::

    from storage import MLflowMirror

    with MLflowMirror() as mirror:
        study.optimize(objective, n_trials=100, callbacks=[mirror])
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from storage.tracking.callback import MLflowMirror

__all__ = ["MLflowMirror"]


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is: most of the package is used without it."""
    if name not in __all__:
        raise AttributeError(f"module 'storage' has no attribute '{name}'")
    from storage.tracking.callback import MLflowMirror

    return MLflowMirror

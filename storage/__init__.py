"""Stores of studies: Optuna's database, its MLflow mirror, and the model registry.

The package works with any Optuna study and imports nothing from `search`. Start at `studies.study`
for Optuna's database and at `tracking.mirror` for MLflow.

Messages are records of the loggers ``storage.*``. They have no `NullHandler`: without a logging
configuration Python prints their warnings, which users of `MLflowMirror` must see.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from storage.tracking.callback import MLflowMirror

__all__ = ["MLflowMirror"]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: most of the package is used without it."""
    if name not in __all__:
        raise AttributeError(f"module 'storage' has no attribute '{name}'")
    from storage.tracking.callback import MLflowMirror

    return MLflowMirror

"""Versions of what a forest depends on, here and now, and what has changed since."""

import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version

_PACKAGES = ("grovekeeper", "numpy", "pandas", "scikit-learn", "scipy", "skrub")


def installed() -> dict[str, str]:
    """Versions by name: of Python, the machine's kind, this project and its libraries."""
    here = {"python": platform.python_version(), "machine": platform.machine()}
    return here | {name: version(name) for name in _PACKAGES}


def changes(then: Mapping[str, str]) -> Iterator[str]:
    """Yield what is another version now, a sentence each."""
    now = installed()
    for name, was in then.items():
        if now.get(name) != was:
            yield f"{name} is {now.get(name, 'missing')}, was {was}"

"""The machine and the packages that this process runs on: cores, free memory, versions."""

import os
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version

_PACKAGES = ("grovekeeper", "numpy", "pandas", "scikit-learn", "scipy", "skrub")


def installed() -> dict[str, str]:
    """Return versions by name: Python, this project, its libraries; and the machine type."""
    here = {"python": platform.python_version(), "machine": platform.machine()}
    return here | {name: version(name) for name in _PACKAGES}


def changes(then: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each version that has changed."""
    now = installed()
    for name, was in then.items():
        if now.get(name) != was:
            yield f"{name} is {now.get(name, 'missing')}, was {was}"


def cores() -> int:
    """Return the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity
        return os.cpu_count() or 1


def free_memory() -> int:
    """Return the bytes of memory that this process may still use, within its container's limit."""
    import psutil
    from distributed.system import MEMORY_LIMIT

    own = psutil.Process().memory_info().rss
    return max(0, int(min(psutil.virtual_memory().available, MEMORY_LIMIT - own)))

"""Makes things once in a test run, also for several workers of pytest-xdist."""

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

_VARIABLE = "GROVEKEEPER_TEST_SHARED"


def _folder() -> Path:
    """Return the folder of this test run: the workers inherit its name in their environment."""
    if _VARIABLE not in os.environ:
        os.environ[_VARIABLE] = tempfile.mkdtemp(prefix="grovekeeper-shared-")
        atexit.register(shutil.rmtree, os.environ[_VARIABLE], ignore_errors=True)
    return Path(os.environ[_VARIABLE])


FOLDER = _folder()


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that `make` filled; the first process that needs it calls `make`."""
    folder = FOLDER / name
    with (FOLDER / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            folder.mkdir()
            try:
                make(folder)
            except BaseException:
                shutil.rmtree(folder)
                raise
    return folder

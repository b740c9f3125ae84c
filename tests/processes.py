"""Processes that tests start: their environment, a port, and waiting until they answer."""

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

START_TIMEOUT = 90.0
STORES = ("OPTUNA_STORAGE", "MLFLOW_TRACKING_URI")
_given: set[int] = set()


def environment() -> dict[str, str]:
    """Return this process's, without the stores that `mlflow.set_tracking_uri` leaves in it."""
    return {key: value for key, value in os.environ.items() if key not in STORES}


def free_port() -> int:
    """Return a port that is free now, another at each call: whoever asked may not listen yet."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _given:
            _given.add(port)
            return port


def wait_until_up(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until a server answers; a server that ends or takes too long fails with its log."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        with suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(url, timeout=1).close()  # noqa: S310 our own
            return
        time.sleep(0.1)

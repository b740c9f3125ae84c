"""The installed command, as browser tests start and end it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

COMMAND = str(Path(sys.executable).with_name("grovekeeper"))
STORES = ("OPTUNA_STORAGE", "MLFLOW_TRACKING_URI")
STOP_TIMEOUT = 30.0


def environment() -> dict[str, str]:
    """Return this process's, without the stores that `mlflow.set_tracking_uri` leaves in it."""
    return {key: value for key, value in os.environ.items() if key not in STORES}


def grovekeeper(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def stop(server: "subprocess.Popen[bytes]") -> None:
    server.terminate()
    try:
        server.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        # The whole session: MLflow's server has processes of its own.
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()

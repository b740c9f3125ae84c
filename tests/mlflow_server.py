"""Runs an MLflow server until standard input ends (shared.py).

It is the server of `mlflow server`, which imports MLflow in two processes, one after the other.

    python mlflow_server.py FILE
"""

import os
import socket
import sys
import threading
from pathlib import Path

from mlflow_stores import make_tables, make_tables_quickly
from shared import publish


def main() -> None:
    (file,) = sys.argv[1:]
    folder = Path(file).parent
    make_tables_quickly()
    make_tables(folder / "server.db")
    os.environ |= {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/server.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
    import uvicorn
    from mlflow.server.fastapi_app import app

    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))

    def watch() -> None:
        sys.stdin.read()
        server.should_exit = True
        server.force_exit = True

    threading.Thread(target=watch, daemon=True).start()
    # Requests wait in the queue of the socket until the server accepts them.
    publish(file, f"http://127.0.0.1:{listener.getsockname()[1]}")
    server.run([listener])


if __name__ == "__main__":
    main()

"""Runs an MLflow server until standard input ends (shared.py).

It is the server of `mlflow server`, which imports MLflow in two processes, one after the other.

    python mlflow_server.py FILE
"""

import os
import socket
import sys
import threading
import time
from pathlib import Path

from mlflow_stores import make_tables, make_tables_quickly
from shared import publish


def main() -> None:
    (file,) = sys.argv[1:]
    folder = Path(file).parent
    make_tables_quickly()
    make_tables(folder / "server.db")
    store, artifacts = f"sqlite:///{folder}/server.db", "mlflow-artifacts:/"
    os.environ |= {
        "_MLFLOW_SERVER_FILE_STORE": store,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": artifacts,
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
    import uvicorn
    from mlflow.server.fastapi_app import app
    from mlflow.server.handlers import initialize_backend_stores

    # Otherwise the first request would do this, which may take longer than its client waits.
    initialize_backend_stores(store, store, artifacts)

    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))

    def watch() -> None:
        while not server.started:
            time.sleep(0.02)
        publish(file, f"http://127.0.0.1:{listener.getsockname()[1]}")
        sys.stdin.read()
        server.should_exit = True
        server.force_exit = True

    threading.Thread(target=watch, daemon=True).start()
    server.run([listener])


if __name__ == "__main__":
    main()

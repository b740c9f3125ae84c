"""Runs an MLflow server until standard input ends (shared.py).

It is the server of `mlflow server`, which imports MLflow in two processes, one after the other.

    python mlflow_server.py FILE

`serve` runs one in a fork of the command server.
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_stores import make_tables, make_tables_quickly
from shared import publish

if TYPE_CHECKING:
    import uvicorn


def serve(
    folder: str, port: int = 0, watch: Callable[["uvicorn.Server", int], None] | None = None
) -> None:
    """Serve a database and artifacts in a folder; `watch` runs in a thread, with the port."""
    make_tables_quickly()
    database = Path(folder, "server.db")
    if not database.exists():
        make_tables(database)
    store, artifacts = f"sqlite:///{database}", "mlflow-artifacts:/"
    os.environ |= {
        # Otherwise MLflow starts eight more processes for GenAI jobs.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "_MLFLOW_SERVER_FILE_STORE": store,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": artifacts,
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": f"{folder}/artifacts",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
    import uvicorn
    from mlflow.server.fastapi_app import app
    from mlflow.server.handlers import initialize_backend_stores

    # Otherwise the first request would do this, which may take longer than its client waits.
    initialize_backend_stores(store, store, artifacts)

    listener = socket.create_server(("127.0.0.1", port), backlog=128)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    if watch is not None:
        arguments = (server, listener.getsockname()[1])
        threading.Thread(target=watch, args=arguments, daemon=True).start()
    server.run([listener])


def main() -> None:
    (file,) = sys.argv[1:]

    def watch(server: "uvicorn.Server", port: int) -> None:
        while not server.started:
            time.sleep(0.02)
        publish(file, f"http://127.0.0.1:{port}")
        sys.stdin.read()
        server.should_exit = True
        server.force_exit = True

    serve(str(Path(file).parent), watch=watch)


if __name__ == "__main__":
    main()

"""A real MLflow server to stop, suspend and restart, and a proxy that loses its answers."""

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import psutil
from processes import free_port, wait_until_up


class MlflowServer:
    """`mlflow server` on one port and one SQLite file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server unless it runs."""
        if self._process is not None:
            return
        folder = self._folder
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{folder}/server.db"]
        command += ["--artifacts-destination", str(folder / "artifacts")]
        # Otherwise MLflow starts eight more processes for GenAI jobs.
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=log, stderr=log
            )
        wait_until_up(f"{self.address}/health", self._process, folder / "server.log")

    def signal(self, number: int) -> None:
        """Send a signal to the server and all of its workers."""
        assert self._process is not None
        parent = psutil.Process(self._process.pid)
        for process in (*parent.children(recursive=True), parent):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def stop(self) -> None:
        """Kill the server (SIGKILL)."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


class LossyProxy:
    """Forwards connections, and drops the answer to every `lose_every`-th writing request.

    The server has carried out such a request, but its client does not know.
    """

    def __init__(self, target: int, lose_every: int) -> None:
        self._target = target
        self._lose_every = lose_every
        self._requests = 0
        self.lost = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            losing = threading.Event()
            answers = threading.Thread(
                target=self._answer, args=(client, server, losing), daemon=True
            )
            answers.start()
            with suppress(OSError):
                while data := client.recv(65536):
                    if data.startswith((b"POST", b"PATCH", b"PUT")):
                        self._requests += 1
                        if self._requests % self._lose_every == 0:
                            self.lost += 1
                            losing.set()
                    server.sendall(data)
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            answers.join()

    @staticmethod
    def _answer(client: socket.socket, server: socket.socket, losing: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if losing.is_set():
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)

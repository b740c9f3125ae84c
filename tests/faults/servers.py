"""A real MLflow server to stop, suspend and restart, and a proxy that loses its answers."""

import socket
import threading
from contextlib import suppress
from pathlib import Path

from forks import Fork
from processes import free_port, wait_until_up


class MlflowServer:
    """The server of `mlflow server` on one port and one SQLite file, as a process to kill."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._process: Fork | None = None

    def start(self) -> None:
        """Start the server unless it runs."""
        if self._process is not None:
            return
        code = f"import mlflow_server; mlflow_server.serve('{self._folder}', {self.port})"
        log = self._folder / "server.log"
        self._process = Fork(["-c", code], self._folder, log, program="python")
        wait_until_up(f"{self.address}/health", self._process, log)

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        """Kill the server (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
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

"""A real MLflow server to stop, suspend and restart, and a proxy that spoils its answers."""

import queue
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Literal

from forks import Fork
from processes import free_port, wait_until_up

# Seconds by which an answer is late. Clients of the fault suite wait for 3 seconds.
DELAY = 5.0


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


Fault = Literal["lose", "delay", "garble"]


class FaultyProxy:
    """Forwards connections, and spoils the answer to every `every`-th writing request.

    The server has carried out such a request, but its client does not know.

    Parameters
    ----------
    faults
        Spoil answers in these ways, in turn: drop the connection, answer later than the client
        waits, or put other bytes in the place of the content.
    """

    def __init__(self, target: int, every: int, faults: Sequence[Fault]) -> None:
        self._target = target
        self._every = every
        self._faults = cycle(faults)
        self._requests = 0
        self.spoiled = 0
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
            spoil: queue.SimpleQueue[Fault] = queue.SimpleQueue()
            answers = threading.Thread(
                target=self._answer, args=(client, server, spoil), daemon=True
            )
            answers.start()
            with suppress(OSError):
                while data := client.recv(65536):
                    if data.startswith((b"POST", b"PATCH", b"PUT")):
                        self._requests += 1
                        if self._requests % self._every == 0:
                            self.spoiled += 1
                            spoil.put(next(self._faults))
                    server.sendall(data)
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            answers.join()

    @staticmethod
    def _answer(
        client: socket.socket, server: socket.socket, spoil: "queue.SimpleQueue[Fault]"
    ) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                fault = None if spoil.empty() else spoil.get()
                if fault == "lose":
                    client.shutdown(socket.SHUT_RDWR)
                    return
                if fault == "delay":
                    time.sleep(DELAY)
                if fault == "garble":
                    head, end, content = data.partition(b"\r\n\r\n")
                    data = head + end + b"\xff" * len(content)
                client.sendall(data)

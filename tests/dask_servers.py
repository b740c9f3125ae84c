"""A Dask scheduler and workers, as the `dask` command starts them."""

import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from forks import Fork
from processes import environment as own_environment
from processes import free_port

START_TIMEOUT = 60.0
Process = Fork | subprocess.Popen[bytes]
# A worker logs this when the scheduler has accepted it.
_REGISTERED = "Registered to:"


class DaskServers:
    """Processes of the `dask` command, on loopback.

    They are forks of the command server, whose memory keeps traces of earlier requests. With
    `forked=False`, the installed command starts them.
    """

    def __init__(
        self,
        folder: Path,
        protocol: str = "tcp",
        options: Sequence[str] = (),
        *,
        forked: bool = True,
    ) -> None:
        self.folder = folder
        self._forked = forked
        self._options = list(options)
        self._protocol = protocol
        self.port = free_port()
        self.address = f"{protocol}://127.0.0.1:{self.port}"
        self.workers: list[Process] = []
        self.scheduler = self.start_scheduler()

    def start_scheduler(self) -> Process:
        place = ["--host", "127.0.0.1", "--port", str(self.port), "--protocol", self._protocol]
        self.scheduler = self._start("scheduler", *place, "--dashboard-address", "127.0.0.1:0")
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            assert self.scheduler.poll() is None
            assert time.monotonic() < deadline, "the Dask scheduler did not start"
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return self.scheduler

    def kill_scheduler(self) -> None:
        self.scheduler.kill()
        self.scheduler.wait()

    def add_worker(self, *options: str, threads: int = 1, **environment: str) -> Process:
        worker = self._start(
            "worker",
            self.address,
            *("--nthreads", str(threads), "--host", "127.0.0.1", "--no-dashboard", "--no-nanny"),
            *("--local-directory", str(self.folder), "--memory-limit", "2GB"),
            *options,
            **environment,
        )
        self.workers.append(worker)
        return worker

    def wait_for_workers(self) -> None:
        """Wait until every worker that was added has registered with the scheduler."""
        deadline = time.monotonic() + START_TIMEOUT
        while (log := (self.folder / "dask.log").read_text()).count(_REGISTERED) < len(
            self.workers
        ):
            assert time.monotonic() < deadline, log
            time.sleep(0.1)

    def _start(self, *command: str, **environment: str) -> Process:
        arguments = [*command, *self._options]
        if self._forked:
            log_file = self.folder / "dask.log"
            return Fork(arguments, self.folder, log_file, program="dask", **environment)
        dask = str(Path(sys.executable).with_name("dask"))
        with (self.folder / "dask.log").open("ab") as log:
            return subprocess.Popen(
                [dask, *arguments],
                cwd=self.folder,
                env=own_environment() | environment,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()

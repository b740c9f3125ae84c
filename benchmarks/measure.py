"""Run a command and measure wall seconds and the CPU seconds of all its processes (Linux).

Workers are often children of a fork server that no process waits for, so the usual sum over
children misses them. This process adopts every orphan below it and waits for all of them.
"""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from traces import BEGAN

_PR_SET_CHILD_SUBREAPER = 36
_SAMPLE_EVERY = 0.2
_PATIENCE = 30.0  # seconds before orphans are terminated
_TICK = os.sysconf("SC_CLK_TCK")
_LAST_LINES = 15
# Environment variables that would make a peer use other stores.
_FOREIGN = ("MLFLOW_", "OPTUNA_", "DASK_", "JOBLIB_", "LOKY_")


@dataclass(frozen=True)
class Measured:
    """The cost of a command.

    Attributes
    ----------
    began
        Unix time.
    wall, cpu
        Seconds; `cpu` is the sum over the command and all processes below it.
    own_cpu
        CPU seconds of the process of the command, without workers that it does not wait for.
    samples
        (seconds since `began`, CPU seconds until then), several times a second.
    """

    began: float
    wall: float
    cpu: float
    own_cpu: float
    samples: Sequence[tuple[float, float]]

    def cpu_at(self, seconds: float) -> float:
        """CPU seconds spent up to the given time."""
        times, spent = zip((0.0, 0.0), *self.samples, (self.wall, self.cpu), strict=True)
        return float(np.interp(seconds, times, spent))


def run(command: Sequence[str], folder: Path, limit: float | None = None) -> Measured:
    """Run a command in a folder until it and all processes below it have ended.

    The command is terminated after `limit` seconds.

    Raises
    ------
    RuntimeError
        If the command fails, with the last lines of its output.
    """
    _adopt_orphans()
    others = _children()
    samples: list[tuple[float, float]] = []
    ended = threading.Event()
    began, clock = time.time(), time.perf_counter()
    sampler = threading.Thread(target=_sample, args=(clock, samples, ended), daemon=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
    environment |= {BEGAN: repr(began), "MLFLOW_DISABLE_TELEMETRY": "true"}
    log = folder / "output.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output
        )
        sampler.start()
        timer = threading.Timer(limit or threading.TIMEOUT_MAX, process.terminate)
        timer.daemon = True
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            wall = time.perf_counter() - clock
        except BaseException:
            process.terminate()
            raise
        finally:
            timer.cancel()
            ended.set()
            sampler.join()
            orphans = _reap(others)
    if process.returncode:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{last}")
    own = usage.ru_utime + usage.ru_stime
    return Measured(began, wall, own + orphans, own, samples)


def check() -> None:
    """Check that a busy worker below a fork server is counted.

    Raises
    ------
    RuntimeError
        If the final sum or the samples miss the worker.
    """
    program = """
import multiprocessing, time

def busy():
    while time.process_time() < 2.0:
        pass

if __name__ == "__main__":
    worker = multiprocessing.get_context("forkserver").Process(target=busy)
    worker.start()
    worker.join()
    time.sleep(0.5)
"""
    busy = 2.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "busy.py"
        path.write_text(program)
        measured = run([sys.executable, str(path)], Path(folder))
    sampled = measured.samples[-1][1]
    if measured.cpu < busy or sampled < 0.9 * busy:
        raise RuntimeError(
            f"a worker that was busy for {busy} s is missed: {measured.cpu:.2f} s are counted, "
            f"{sampled:.2f} s sampled"
        )


def _adopt_orphans() -> None:
    """Become the parent of every process below this one whose own parent ends."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def _reap(others: Set[int]) -> float:
    """Wait for all children except `others`; terminate them if they take too long.

    Returns
    -------
    CPU seconds of these children
    """
    spent = 0.0
    deadline = time.monotonic() + _PATIENCE
    while children := _children() - others:
        for child in children:
            ended, _, usage = os.wait4(child, os.WNOHANG)
            if ended:
                spent += usage.ru_utime + usage.ru_stime
            elif time.monotonic() > deadline:
                os.kill(child, signal.SIGTERM)
        time.sleep(0.02)
    return spent


def _children() -> set[int]:
    return {pid for pid, (parent, _) in _processes().items() if parent == os.getpid()}


def _sample(clock: float, samples: list[tuple[float, float]], ended: threading.Event) -> None:
    while not ended.wait(_SAMPLE_EVERY):
        samples.append((time.perf_counter() - clock, _spent_below(os.getpid())))


def _spent_below(ancestor: int) -> float:
    """CPU seconds of all processes below one, including ended processes that were waited for."""
    processes = _processes()
    below = {ancestor}
    while more := {pid for pid, (parent, _) in processes.items() if parent in below} - below:
        below |= more
    return sum(processes[pid][1] for pid in below - {ancestor})


def _processes() -> dict[int, tuple[int, float]]:
    """Parent and CPU seconds of every process, from /proc/<pid>/stat (proc(5))."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # the process has ended
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
            found[int(path.parent.name)] = int(fields[1]), sum(map(int, fields[11:15])) / _TICK
    return found

"""Runs commands, and Dask's servers, in forks of a process that has imported everything once.

A command spends seconds on imports, and the tests start hundreds of commands. A forked command
starts immediately, in a separate process that can be interrupted or killed like any other.

    python command_server.py FILE

`command_client.py` is the client. A request is the length of a JSON document, with the three
standard streams as file descriptors, and the document. The answers are two lines: the number of the
process, and its exit code (negative for a signal). If a client disconnects, its process is killed.

    {"run": [ARGUMENTS], "cwd": FOLDER, "environment": {NAME: VALUE},
     "program": "grovekeeper" | "dask" | "mlflow" | ..., "faults": [FAULT, ...]}

"python" takes `-c CODE` or `-m MODULE`, with arguments. The program and the faults
(faults/injection.py) are optional. The server writes the name of its socket to the file.

A command that starts `sys.executable` starts the program that GROVEKEEPER_TEST_PYTHON names, which
can be a client of this server.

A command whose environment has GROVEKEEPER_TEST_FIGURES=empty renders empty figures, because the
figures take a third of a short launch. It is for tests that are not about figures.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from types import ModuleType
from typing import Any

import dask.config
from empty_figures import render_empty_figures
from mlflow_stores import make_tables_quickly
from optuna_stores import look_up_version_once
from quick_skops import write_compact_json
from shared import publish

_PROGRAMS = {
    "dask": "dask.__main__:main",
    "grovekeeper": "search.cli:main",
    "mlflow": "mlflow.cli:cli",
    "optuna-dashboard": "optuna_dashboard._cli:main",
    "uvicorn": "uvicorn:main",
}
# Exit code of a process that could not run its command.
FAILED = 137
_IMPORTED = (
    "distributed",
    "distributed.cli.dask_scheduler",
    "distributed.cli.dask_worker",
    "git",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "mlflow.pyfunc",
    "mlflow.sklearn",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.tracking",
    "optuna.importance",
    "optuna.storages",
    "psycopg",
    "search.cli.app",
    "search.service.launch",
    "search.service.sync",
    "skops.io",
    "skrub",
    "sklearn.ensemble",
)


class CommandServer:
    """Forks commands until standard input ends (shared.py)."""

    def __init__(self, path: Path) -> None:
        self._clients: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._ended, self._wake = socket.socketpair()
        for end in (self._ended, self._wake):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._ended, selectors.EVENT_READ)
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is sys.stdin:
                    return
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._ended:
                    self._ended.recv(4096)
                elif key.data in self._clients:
                    self._forget(key.data)
                    with suppress(ProcessLookupError):
                        os.kill(key.data, signal.SIGKILL)
            self._answer_ended()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        length, streams, *_ = socket.recv_fds(client, 8, 3)
        body = b""
        while len(body) < int.from_bytes(length, "big"):
            body += client.recv(65536)
        pid = _fork(json.loads(body), streams)
        for stream in streams:
            os.close(stream)
        client.sendall(f"{pid}\n".encode())
        self._clients[pid] = client
        self._selector.register(client, selectors.EVENT_READ, pid)

    def _answer_ended(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid in self._clients:
                code = os.waitstatus_to_exitcode(status)
                with suppress(OSError):
                    self._clients[pid].sendall(f"{code}\n".encode())
                self._forget(pid)

    def _forget(self, pid: int) -> None:
        client = self._clients.pop(pid)
        self._selector.unregister(client)
        client.close()


def _fork(request: dict[str, Any], streams: list[int]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = FAILED
    try:
        _become_a_command(request, streams)
        if os.environ.get("GROVEKEEPER_TEST_FIGURES") == "empty":
            render_empty_figures()
        for fault in request.get("faults", ()):
            from injection import inject

            inject(fault)
        program = request.get("program", "grovekeeper")
        if program == "python":
            _run_python(*request["run"])
        else:
            pkgutil.resolve_name(_PROGRAMS[program])()
        raise SystemExit(0)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _run_python(option: str, code: str, *arguments: str) -> None:
    """Run `python -c CODE` or `python -m MODULE`."""
    if option == "-m":
        sys.argv = [code, *arguments]
        runpy.run_module(code, run_name="__main__", alter_sys=True)
        return
    assert option == "-c"
    sys.argv = ["-c", *arguments]
    main = ModuleType("__main__")
    sys.modules["__main__"] = main
    exec(compile(code, "<string>", "exec"), main.__dict__)  # noqa: S102 it is the tests' own code


def _become_a_command(request: dict[str, Any], streams: list[int]) -> None:
    """Set the streams, folder, environment and signals as in a new process."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup, which ignores it
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.executable = os.environ.get("GROVEKEEPER_TEST_PYTHON", sys.executable)
    dask.config.refresh()  # Dask read its variables, such as DASK_SCHEDULER_ADDRESS, when imported
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    sys.argv = [request.get("program", "grovekeeper"), *request["run"]]


def main() -> None:
    (file,) = sys.argv[1:]
    for name in _IMPORTED:
        importlib.import_module(name)
    from mlflow.utils import requirements_utils

    from search.workers import local

    # MLflow looks up the installed packages when a model is first saved, which takes half a second.
    requirements_utils._init_packages_to_modules_map()
    make_tables_quickly()
    look_up_version_once()
    write_compact_json()
    # Workers are forked from a process that has imported these modules as well.
    local._PRELOAD.append("robust_forkserver")
    local.prepare()
    resource_tracker.ensure_running()
    # The fork server belongs to this server; commands must not start another one.
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[attr-defined]
    forkserver.ensure_running = lambda: None
    gc.freeze()
    path = Path(file).with_name("socket")
    server = CommandServer(path)
    publish(file, str(path))
    server.serve()


if __name__ == "__main__":
    main()

"""A process that has imported everything once, and forks the command line from itself on request.

A launch costs seconds of imports, a hundred launches that are killed on the way hundreds of them.
Forked, a launch begins at once, in a process of its own that can be killed like any other.
Read from stdin, a line each, are requests as JSON; an answer is a line on stdout.

    {"run": [ARGUMENTS], "cwd": FOLDER, "log": FILE, "faults": [FAULT, …]}    the process's number
    {"poll": PID}                                            its exit code; null while it runs

A fault is one of these: the process is killed there (SIGKILL), a name is bound to another value, no
file may grow beyond so many bytes.

    {"at": "package.module:Class.method", "when": "before" | "after", "call": N}
    {"set": "package.module:NAME", "to": VALUE}
    {"file_size": BYTES}
"""

import functools
import gc
import importlib
import json
import os
import resource
import signal
import sys
from multiprocessing import forkserver, resource_tracker
from typing import Any

LAST_WORDS = 137


def main() -> None:
    deadly = sys.argv[1:]
    _import_everything()
    from search.workers import local

    # Workers are forked from a process that has imported these, too.
    local._PRELOAD.extend(["sturdy", *deadly])
    local.prepare()
    resource_tracker.ensure_running()
    # The fork server is this process's child, not that of the processes forked here.
    forkserver._forkserver.ensure_running = lambda: None
    forkserver.ensure_running = lambda: None
    gc.freeze()
    _answer("ready")
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            _answer(os.waitstatus_to_exitcode(status) if pid else None)
        else:
            _answer(_fork(request))


def _answer(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _import_everything() -> None:
    for name in (
        "distributed",
        "mlflow.sklearn",
        "mlflow.store.tracking.sqlalchemy_store",
        "mlflow.store.model_registry.sqlalchemy_store",
        "mlflow.tracking",
        "optuna.storages",
        "psycopg",
        "search.cli.app",
        "search.service.launch",
        "search.service.sync",
        "skops.io",
        "skrub",
        "sklearn.ensemble",
    ):
        importlib.import_module(name)
    from mlflow.utils import requirements_utils

    # What it looks up once, for half a second, when a model is saved.
    requirements_utils._init_packages_to_modules_map()


def _fork(request: dict[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    code = LAST_WORDS
    try:
        os.setsid()
        os.chdir(request["cwd"])
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for fault in request.get("faults", ()):
            _arm(fault)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from search.cli.app import run

        code = run(request["run"])
        sys.stderr.flush()
    finally:
        os._exit(code)


def _arm(fault: dict[str, Any]) -> None:
    if "file_size" in fault:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault["file_size"], resource.RLIM_INFINITY))
        return
    place = fault.get("at") or fault["set"]
    module, _, path = place.partition(":")
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    if "set" in fault:
        setattr(owner, name, fault["to"])
        return
    original, calls = getattr(owner, name), [0]

    @functools.wraps(original)
    def deadly(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        now = calls[0] == fault["call"]
        if now and fault["when"] == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


if __name__ == "__main__":
    main()

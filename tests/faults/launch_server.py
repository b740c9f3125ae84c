"""A process that imports everything once, and forks commands with injected faults on request.

The imports of a launch take seconds, and the fault suite starts hundreds of launches. A forked
launch starts at once, in a separate process that can be killed like any other. Requests are lines
of JSON on stdin, each answered by a line on stdout.

    {"run": [ARGUMENTS], "cwd": FOLDER, "log": FILE, "faults": [FAULT, …]}    the process's id
    {"poll": PID}                                            its exit code; null while it runs

A fault is one of three: the process kills itself before or after a call (SIGKILL), a name is bound
to another value, or files cannot grow beyond a number of bytes.

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

EXIT_CODE_ON_ERROR = 137


def main() -> None:
    modules = sys.argv[1:]
    _import_everything()
    from search.workers import local

    # The fork server of the workers imports these modules as well.
    local._PRELOAD.extend(["robust_forkserver", *modules])
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

    # MLflow computes this once, in half a second, when the first model is saved.
    requirements_utils._init_packages_to_modules_map()


def _fork(request: dict[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    code = EXIT_CODE_ON_ERROR
    try:
        os.setsid()
        os.chdir(request["cwd"])
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for fault in request.get("faults", ()):
            _inject(fault)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from search.cli.app import run

        code = run(request["run"])
        sys.stderr.flush()
    finally:
        os._exit(code)


def _inject(fault: dict[str, Any]) -> None:
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
    def kill_at_call(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        now = calls[0] == fault["call"]
        if now and fault["when"] == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, kill_at_call)


if __name__ == "__main__":
    main()

"""Injects faults into a command of the command server (../command_server.py).

A fault is one of four: the process kills itself before or after a call (SIGKILL), a name is bound
to another value, a module of the tests is imported, or files cannot grow beyond a number of bytes.

    {"at": "package.module:Class.method", "when": "before" | "after", "call": N}
    {"set": "package.module:NAME", "to": VALUE}
    {"import": "module"}
    {"file_size": BYTES}
"""

import functools
import importlib
import os
import resource
import signal
from typing import Any


def inject(fault: dict[str, Any]) -> None:
    if "file_size" in fault:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault["file_size"], resource.RLIM_INFINITY))
        return
    if "import" in fault:
        importlib.import_module(fault["import"])
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

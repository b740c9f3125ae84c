"""Loaded by every Python process of a guarded test: refuse all connections to other machines.

Refused connections and name look-ups are written to the file named by GROVEKEEPER_GUARD.
"""

import ipaddress
import os
import sys
import traceback
from typing import Any

_LOG = os.environ["GROVEKEEPER_GUARD"]
_AT_HOME = {None, "", "localhost"}


def _leaves(host: Any) -> bool:
    host = host.decode() if isinstance(host, bytes) else host
    if host in _AT_HOME:
        return False
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return True
    return not (address.is_loopback or address.is_unspecified)


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event in {"socket.connect", "socket.sendto"}:
        address = arguments[1]
        host = (
            address[0] if isinstance(address, tuple) else None
        )  # otherwise the path of a Unix socket
    elif event in {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}:
        host = arguments[0]
    else:
        return
    if _leaves(host):
        with open(_LOG, "a") as log:
            log.write(f"{event} {host!r} by {sys.argv}\n{''.join(traceback.format_stack())}\n")
        raise ConnectionRefusedError(f"{event} {host!r} is refused here")


sys.addaudithook(_watch)
with open(f"{_LOG}.processes", "a") as log:
    log.write(f"{os.getpid()}\n")

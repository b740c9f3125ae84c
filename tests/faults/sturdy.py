"""Imported by the fork server, which all launches share here: it survives whoever is killed.

A launch that dies between its connection and its request would end it, and with it the others; a
launch of its own has a fork server of its own.
"""

import errno
from multiprocessing import reduction
from typing import Any

_receive = reduction.recvfds


def receive(*arguments: Any) -> Any:
    try:
        return _receive(*arguments)
    except EOFError as error:
        raise OSError(errno.ECONNABORTED, "it was killed") from error


reduction.recvfds = receive

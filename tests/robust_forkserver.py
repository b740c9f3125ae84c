"""Lets the fork server, which imports this module, survive a killed launch.

All launches of a command server share one fork server. A launch that is killed between its
connection and its request would end the server and, with it, the other launches. Outside the tests
each launch has its own fork server.
"""

import errno
from multiprocessing import reduction
from typing import Any

_receive = reduction.recvfds


def receive(*arguments: Any) -> Any:
    try:
        return _receive(*arguments)
    except EOFError as error:
        raise OSError(errno.ECONNABORTED, "the launch was killed") from error


reduction.recvfds = receive

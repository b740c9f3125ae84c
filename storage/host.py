"""The user, the machine and the processes that this process runs beside."""

import getpass
import os
import socket

# Linux' number of the machine's own namespace of processes.
_FIRST_SPACE = 0xEFFFFFFC


def this_user() -> str:
    """Return the user's name; the number of one who has none, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError):
        return str(os.getuid())


def this_host() -> str:
    """Return this machine's name; with a number where processes are counted apart.

    Containers may share a name, and not see each other's processes.
    """
    try:
        space = os.stat("/proc/self/ns/pid").st_ino
    except OSError:  # no Linux
        return socket.gethostname()
    name = socket.gethostname()
    return name if space == _FIRST_SPACE else f"{name}/{space}"


def process_exists(pid: int) -> bool:
    """Whether a process of this host lives; one that only waits to be buried does not."""
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True

"""The current user, this host, and whether a process of this host exists."""

import getpass
import os
import socket

# Inode number of the initial process namespace (PROC_PID_INIT_INO in the Linux kernel).
_INITIAL_NAMESPACE = 0xEFFFFFFC


def this_user() -> str:
    """Return the user's name, or the user id if it has no name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError):
        return str(os.getuid())


def this_host() -> str:
    """Return the host name; inside another process namespace, followed by its number.

    Containers can share a host name without seeing each other's processes.
    """
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:  # not Linux
        return socket.gethostname()
    name = socket.gethostname()
    return name if namespace == _INITIAL_NAMESPACE else f"{name}/{namespace}"


def process_exists(pid: int) -> bool:
    """Whether a process of this host exists and is not a zombie."""
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True

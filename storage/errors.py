"""Exceptions that `storage` raises on purpose.

StorageError
├── DatabaseError      a database or tracking store that cannot be opened or used
│   └── PermanentError     an error that stays until somebody changes something: do not retry
│       └── TooLargeError      a file exceeds the limit on the size of a request
├── SchedulerError     a Dask scheduler that does not answer
├── NotFoundError      a study, model or database that is not there (also a LookupError)
├── StudyBusyError     another coordinator holds the study's lease
└── LeaseLostError     this process no longer holds the lease that it held
"""

from collections.abc import Iterable
from difflib import get_close_matches

# Characters of another program's message that fit into a line of ours.
_LONGEST_CAUSE = 160


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the known name closest to `name`, if any is close."""
    near = get_close_matches(name, list(known), n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if the message is empty."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def short_line(text: str) -> str:
    """Return a text of another program as one short line.

    Remove secrets first: half an address may not be recognised as one.
    """
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_CAUSE else f"{line[: _LONGEST_CAUSE - 2].rstrip()} …"


class StorageError(Exception):
    """Base class of the package's errors; the message says what failed and what to do."""


class DatabaseError(StorageError):
    """A database or tracking store cannot be opened or used."""


class PermanentError(DatabaseError):
    """An error of a store that a retry cannot mend, such as a run that a user deleted."""


class TooLargeError(PermanentError):
    """A file exceeds the limit that a server, or a proxy before it, sets on requests."""


class SchedulerError(StorageError):
    """A Dask scheduler does not answer."""


class NotFoundError(StorageError, LookupError):
    """A study, model or database does not exist."""


class StudyBusyError(StorageError):
    """Another coordinator runs the study."""


class LeaseLostError(StorageError):
    """This process no longer holds the study's lease and must stop writing."""


def driver_said(error: BaseException) -> str:
    """Return the database driver's message without the SQL that SQLAlchemy adds to it."""
    return first_line(getattr(error, "orig", None) or error)

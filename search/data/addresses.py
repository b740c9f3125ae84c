"""`TableAddress`: where a table is read, as the user wrote it, with and without its secrets."""

import re
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import unquote

from storage.redaction import HIDDEN, redact, redact_message

DIABETES = "diabetes"
# Recorded source of a table that was given in memory, and of one that was read from standard input.
FRAME = "frame"
STDIN = "stdin"
# The address by which a user asks for standard input.
PIPED = "-"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9.+-]*)(?:://|::)")
_DATABASES = ("sqlite", "postgresql", "postgres", "mysql", "mariadb", "oracle", "mssql")
_SUFFIXES = (
    *(".gz", ".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson"),
    *(".parquet", ".pq", ".feather", ".arrow"),
)
_DATABASE_SUFFIXES = (".db", ".sqlite", ".sqlite3")


@dataclass(frozen=True)
class TableAddress:
    """The address of a table. In messages it appears without its secrets.

    Attributes
    ----------
    full
        A path; the address of a file or folder, as fsspec reads them; the address of a database,
        as SQLAlchemy reads them; ``-`` or ``diabetes``. It may hold a password or a signature, so
        only `redacted` may be stored, logged or printed.
    """

    full: str = field(repr=False)

    def __str__(self) -> str:
        return self.redacted

    @cached_property
    def scheme(self) -> str:
        """``s3`` for ``s3://…``, in lower case; empty for a path, ``-`` and ``diabetes``."""
        found = _SCHEME.match(self.full)
        return found[1].lower() if found else ""

    @property
    def dialect(self) -> str:
        """``postgresql`` for ``postgresql+psycopg://…``."""
        return self.scheme.partition("+")[0]

    @property
    def is_database(self) -> bool:
        """Whether SQLAlchemy itself has a dialect for the address."""
        return self.dialect in _DATABASES

    @cached_property
    def redacted(self) -> str:
        """The address without passwords and signatures."""
        if self.full == PIPED:
            return STDIN
        return redact(self.full, is_file=not self.is_database) if self._has_parts else self.full

    @property
    def is_redacted(self) -> bool:
        """Whether the address was stored, and has lost its secrets."""
        return HIDDEN in self.full

    @property
    def without_redacted(self) -> str:
        """A database's address without the parts that were redacted.

        Its driver may find the password elsewhere: PostgreSQL's reads PGPASSWORD, PGSERVICE and
        ``~/.pgpass``.
        """
        address = self.full.replace(f":{HIDDEN}@", "@", 1)
        address = re.sub(rf"[^=?&;#]+={re.escape(HIDDEN)}(?:[&;]|$)", "", address)
        return address.rstrip("?&;")

    @property
    def file_name(self) -> str:
        """The last part of the path, without the parameters that follow a question mark."""
        path = self.redacted
        if self.scheme:
            links = path.split("::")
            link = next((link for link in links if "://" in link), links[-1])
            path = unquote(re.split(r"[?#]", link)[0])
        return path.rstrip("/").rpartition("/")[2]

    @property
    def study_name(self) -> str:
        """The default name of a study: ``houses`` for ``a/houses.csv.gz``, ``shop`` for a database.

        It has 1 to 100 letters, digits and the characters ".", "_" and "-".
        """
        name = self.file_name
        suffixes = _DATABASE_SUFFIXES if self.is_database else _SUFFIXES
        while name.lower().endswith(suffixes):
            name = name[: name.rindex(".")]
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-")[:100]
        return name if name.strip(".") else "study"

    def redact_message(self, message: str) -> str:
        """Return a library's message about this address, without the address's secrets."""
        if not self._has_parts:
            return message
        return redact_message(message, self.full, is_file=not self.is_database)

    @property
    def _has_parts(self) -> bool:
        """Whether this is more than a path, in which "@" and "?" would mean nothing."""
        return "://" in self.full


def resolve_table(
    recorded: str, recorded_query: str | None, given: str | None, given_query: str | None
) -> tuple[str, str | None]:
    """Return the address and the query with which a study's table is read again.

    Parameters
    ----------
    recorded, recorded_query
        The address and the query in the study's record.
    given, given_query
        The user's replacements. The recorded query also applies to a database that replaces the
        recorded one, but not to a file.
    """
    if given is None:
        return recorded, given_query or recorded_query
    address = TableAddress(given)
    is_queried = address.is_database or address.scheme == TableAddress(recorded).scheme
    return given, given_query or (recorded_query if is_queried else None)

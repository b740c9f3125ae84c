"""Addresses of tables: of which kind one is, what is shown and kept of it, what it calls a study.

What is kept with a study, logged or said of an address is always `shown`: without passwords and
signatures. Whoever reads the table again brings them again.
"""

import re
from urllib.parse import unquote

from storage.redaction import HIDDEN, redact, redact_message

DIABETES = "diabetes"
# What a table in memory is called, and one that came on standard input.
FRAME = "frame"
STDIN = "stdin"
# How standard input is asked for.
PIPED = "-"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9.+-]*)(?:://|::)")
_DATABASES = ("sqlite", "postgresql", "postgres", "mysql", "mariadb", "oracle", "mssql")
_SUFFIXES = (".gz", ".csv", ".tsv", ".txt", ".parquet", ".pq")
_DATABASE_SUFFIXES = (".db", ".sqlite", ".sqlite3")


def scheme(address: str) -> str:
    """Return ``s3`` of ``s3://…``; an empty text for paths."""
    found = _SCHEME.match(address)
    return found.group(1).lower() if found else ""


def is_database(address: str) -> bool:
    """Whether an address is of a database that SQLAlchemy opens itself."""
    return scheme(address).partition("+")[0] in _DATABASES


def shown(address: str) -> str:
    """Return an address as it may be kept and told: asterisks for passwords and signatures."""
    if address == PIPED:
        return STDIN
    if "://" not in address:
        return address
    return redact(address, is_file=not is_database(address))


def scrubbed(text: str, address: str) -> str:
    """Return what a library says of an address, without the address's secrets."""
    if "://" not in address:
        return text
    return redact_message(text, address, is_file=not is_database(address))


def without_hidden(address: str) -> str:
    """Return a database's address without what was hidden: its driver may know it from elsewhere.

    PostgreSQL's has PGPASSWORD, PGSERVICE and ``~/.pgpass``.
    """
    address = address.replace(f":{HIDDEN}@", "@", 1)
    address = re.sub(rf"[^=?&;#]+={re.escape(HIDDEN)}(?:[&;]|$)", "", address)
    return address.rstrip("?&;")


def found_again(
    data: str, query: str | None, now: str | None, by: str | None
) -> tuple[str, str | None]:
    """Return where a table is read again, and by which query.

    Parameters
    ----------
    data, query
        As they are on record.
    now, by
        What is given in their place; a query on record serves another database, but no file.
    """
    if now is None:
        return data, by or query
    return now, by or (query if is_database(now) or scheme(now) == scheme(data) else None)


def file_name(address: str) -> str:
    """Return the last part of an address's path, without what follows a question mark."""
    if scheme(address):
        parts = address.split("::")
        address = next((part for part in parts if "://" in part), parts[-1])
        address = unquote(re.split(r"[?#]", address)[0])
    return address.rstrip("/").rpartition("/")[2]


def default_name(data: str) -> str:
    """Name a study after its data: ``houses`` for ``a/houses.csv.gz``, ``shop`` for a database."""
    name = file_name(shown(data))
    suffixes = _DATABASE_SUFFIXES if is_database(data) else _SUFFIXES
    while name.lower().endswith(suffixes):
        name = name[: name.rindex(".")]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-")[:100]
    return name if name.strip(".") else "study"

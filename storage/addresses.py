"""`StoreAddress`: where Optuna's database or MLflow's store is, with and without its secrets."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from storage.errors import DatabaseError
from storage.redaction import redact

if TYPE_CHECKING:
    from sqlalchemy import URL

# A Dask scheduler serves Optuna's database: in its memory, or at the address after the prefix.
SERVED_FROM_MEMORY = "dask"
SERVED = "dask+"
_NETWORK_FILE_SYSTEMS = (
    "nfs", "cifs", "smb", "9p", "afs", "ceph", "lustre", "glusterfs", "fuse.sshfs", "gpfs"
)  # fmt: skip


@dataclass(frozen=True)
class StoreAddress:
    """The address of a store. In messages it appears without its secrets.

    Attributes
    ----------
    url
        The address as the user gave it. It may hold a password, so only ``str()`` of this object
        may be stored, logged or printed.
    """

    url: str = field(repr=False)

    def __str__(self) -> str:
        return redact(self.url)

    @property
    def is_server(self) -> bool:
        """Whether the store is an MLflow server."""
        return self.url.startswith(("http://", "https://"))

    @property
    def is_served(self) -> bool:
        """Whether the store is a database that a Dask scheduler serves."""
        return self.url == SERVED_FROM_MEMORY or self.url.startswith(SERVED)

    @property
    def is_sqlite(self) -> bool:
        """Whether the store is a SQLite database, in a file or in memory."""
        return self.url.startswith("sqlite")

    @cached_property
    def sqlite_file(self) -> Path | None:
        """The file of a SQLite database; ``None`` for any other store."""
        name = self.parse().database if self.is_sqlite else None
        return Path(name) if name and name != ":memory:" else None

    @property
    def absolute(self) -> str:
        """The address with the absolute path of a SQLite file, valid in any working directory."""
        path = self.sqlite_file
        if path is None or path.is_absolute() or str(path).startswith("file:"):
            return self.url
        # Other characters stay unquoted: MLflow creates the folder under the name in the address.
        folder = str(Path.cwd()).replace("%", "%25").replace("?", "%3F")
        dialect, _, name = self.url.partition(":///")
        return f"{dialect}:///{folder}/{name}"

    @property
    def without_login(self) -> str:
        """The address of a server without the user name and password."""
        parts = urlsplit(self.url.rstrip("/"))
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    @property
    def proxy(self) -> str | None:
        """The proxy that the environment sets for this server, without its secrets."""
        from urllib.request import getproxies, proxy_bypass

        parts = urlsplit(self.url)
        if parts.hostname is None or proxy_bypass(parts.netloc.rpartition("@")[2]):
            return None
        proxies = getproxies()
        proxy = proxies.get("http" if parts.scheme == "http" else "https") or proxies.get("all")
        return None if proxy is None else redact(proxy)

    def parse(self) -> "URL":
        """Return the parts of a database's address.

        Raises
        ------
        DatabaseError
            If the address does not have the form ``dialect://…``.
        """
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            return make_url(self.url)
        except (ArgumentError, ValueError):
            raise DatabaseError(
                f"'{self}' is not a database address: use, for instance, sqlite:///optuna.db"
            ) from None

    def network_file_system(self) -> str | None:
        """Return the type of the network file system of a SQLite file; ``None`` if it has none.

        SQLite's locks and its write-ahead log are unsafe there (https://sqlite.org/wal.html).
        """
        import psutil

        if self.sqlite_file is None:
            return None
        folders = {str(folder) for folder in self.sqlite_file.resolve().parents}
        mounts = [m for m in psutil.disk_partitions(all=True) if m.mountpoint in folders]
        kind = max(mounts, key=lambda mount: len(mount.mountpoint)).fstype if mounts else ""
        return kind if kind.lower().startswith(_NETWORK_FILE_SYSTEMS) else None

"""From an address to bytes: files, fsspec's addresses, folders of Parquet files, standard input."""

import io
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from search.data.addresses import DIABETES, PIPED, STDIN, scheme, shown
from search.errors import DataError, UsageError
from storage.redaction import HIDDEN

if TYPE_CHECKING:
    from typing_extensions import Buffer

READABLE = "a CSV, TSV (also .gz) or Parquet file"
_PARQUET = (".parquet", ".pq")
_WEB = ("http", "https")
# Seconds: for a connection, and without a byte.
_CONNECT, _SILENCE = 30, 120


@dataclass
class Place:
    """Where a table's bytes are.

    Attributes
    ----------
    path
        As the file system has it.
    system
        fsspec's file system; ``None`` for a file of this machine's and for standard input.
    files
        Of a folder, its Parquet files, sorted.
    """

    path: str
    system: Any = None
    files: tuple[str, ...] = ()

    def open(self) -> BinaryIO:
        """Open the bytes, from the beginning at each call."""
        if self.system is None:
            return Path(self.path).open("rb")
        # In one stream: not every web server gives ranges.
        options = {"block_size": 0} if scheme(self.path) in _WEB else {}
        return cast("BinaryIO", self.system.open(self.path, "rb", **options))

    def close(self) -> None:
        """Give back what was kept on disk."""


class _Piped(Place):
    """Standard input, which is kept on disk as far as it was read, to be read again."""

    def __init__(self) -> None:
        super().__init__(STDIN)
        self._kept: Any = tempfile.TemporaryFile(prefix="grovekeeper-", buffering=0)  # noqa: SIM115 see close

    def open(self) -> BinaryIO:
        return io.BufferedReader(_Replay(self._kept, sys.stdin.buffer))

    def close(self) -> None:
        self._kept.close()


class _Replay(io.RawIOBase):
    """What is kept of a stream, and then the rest of it, which is kept as well."""

    def __init__(self, kept: Any, rest: Any) -> None:
        self._kept, self._rest = kept, rest
        self._place = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer") -> int:
        view = memoryview(buffer)
        self._kept.seek(self._place)
        found = self._kept.read(len(view))
        if not found:
            found = self._rest.read1(len(view))
            self._kept.write(found)
        view[: len(found)] = found
        self._place += len(found)
        return len(found)


def is_here(source: str) -> bool:
    """Whether a table's address is to be read from here: an address is, and a path that exists."""
    return source in (DIABETES, PIPED) or bool(scheme(source)) or Path(source).exists()


def find(source: str) -> Place:
    """Find what an address names, and refuse what cannot be a table.

    Raises
    ------
    UsageError
        When nothing is piped to standard input.
    DataError
        When there is nothing, or the address's package is not installed.
    """
    if source == PIPED:
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError("--data - reads standard input, and nothing is piped there")
        return _Piped()
    if scheme(source):
        return _at_address(source)
    return _on_disk(source, source)


def _on_disk(path: str, source: str) -> Place:
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        raise DataError(f"--data {source} does not exist: name {READABLE}") from None
    except ValueError as error:  # a NUL
        raise DataError(f"--data {source!r} is no path: {error}") from None
    if stat.S_ISREG(mode):
        return Place(path)
    if not stat.S_ISDIR(mode):
        raise DataError(f"--data {source} is a pipe or a device: pipe it into --data -")
    import fsspec

    return _folder(fsspec.filesystem("file"), str(Path(path).absolute()), source)


def _at_address(source: str) -> Place:
    import fsspec

    name = shown(source)
    if HIDDEN in source:
        raise DataError(
            f"--data {name} is what is kept of an address, without its secrets: name it in full "
            "again with --data"
        )
    web = scheme(source) in _WEB
    try:
        system, path = fsspec.core.url_to_fs(source, **(_web_options() if web else {}))
    except ImportError as error:
        raise DataError(f"cannot read --data {name}: {error}") from error
    except ValueError as error:
        if "Protocol not known" not in str(error):
            raise
        raise DataError(
            f"--data {name}: '{scheme(source)}' is no kind of address that is known: name a path, "
            "https://…, s3://…, or with --query a database, postgresql+psycopg://…"
        ) from None
    if scheme(source) in ("file", "local"):
        return _on_disk(path, name)
    if not web and system.isdir(path):
        return _folder(system, path, name)
    return Place(path, system)


def _web_options() -> dict[str, Any]:
    """Take proxies and passwords from where they are kept (.netrc); large files take long."""
    import aiohttp

    patience = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_SILENCE)
    return {"client_kwargs": {"trust_env": True, "timeout": patience}}


def _folder(system: Any, path: str, source: str) -> Place:
    """Find the Parquet files of a folder, and of those in it; hidden ones are left out."""
    root = path.rstrip("/")
    files = [
        file
        for file in sorted(system.find(path))
        if file.lower().endswith(_PARQUET)
        and not any(part.startswith((".", "_")) for part in _below(file, root))
    ]
    if not files:
        raise DataError(f"--data {source} is a folder without Parquet files: name {READABLE}")
    return Place(root, system, tuple(files))


def _below(file: str, root: str) -> tuple[str, ...]:
    return PurePosixPath(file.removeprefix(root).lstrip("/")).parts

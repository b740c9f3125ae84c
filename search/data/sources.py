"""Opens the bytes at an address: a file, a folder of Parquet files, or standard input."""

import io
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from search.data.addresses import DIABETES, PIPED, STDIN, TableAddress
from search.errors import DataError, UsageError

if TYPE_CHECKING:
    from typing_extensions import Buffer

READABLE = "a CSV, TSV, JSON Lines (also .gz), Feather or Parquet file"
_PARQUET = (".parquet", ".pq")
_WEB = ("http", "https")
# Seconds to wait for a connection, and for the next byte.
_CONNECT_TIMEOUT, _READ_TIMEOUT = 30, 120


@dataclass
class ByteSource:
    """The bytes of a table.

    Attributes
    ----------
    path
        As the file system has it.
    system
        fsspec's file system; ``None`` for a file on this machine and for standard input.
    files
        The Parquet files of a folder, sorted; empty for a single file.
    """

    path: str
    system: Any = None
    files: tuple[str, ...] = ()

    def open(self) -> BinaryIO:
        """Open the bytes; each call starts at their beginning."""
        if self.system is None:
            return Path(self.path).open("rb")
        # Not every web server supports ranges: read one stream.
        options = {"block_size": 0} if self.path.startswith(("http://", "https://")) else {}
        return cast("BinaryIO", self.system.open(self.path, "rb", **options))

    def close(self) -> None:
        """Delete temporary files."""


class _StandardInput(ByteSource):
    """Standard input; the bytes read so far are kept in a temporary file, to be read again."""

    def __init__(self) -> None:
        super().__init__(STDIN)
        self._copy: Any = tempfile.TemporaryFile(prefix="grovekeeper-", buffering=0)  # noqa: SIM115 see close

    def open(self) -> BinaryIO:
        return io.BufferedReader(_ReplayedStream(self._copy, sys.stdin.buffer))

    def close(self) -> None:
        self._copy.close()


class _ReplayedStream(io.RawIOBase):
    """The copy of the bytes read before, followed by the rest of the stream, which is copied."""

    def __init__(self, copy: Any, stream: Any) -> None:
        self._copy, self._stream = copy, stream
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer") -> int:
        view = memoryview(buffer)
        self._copy.seek(self._position)
        block = self._copy.read(len(view))
        if not block:
            block = self._stream.read1(len(view))
            self._copy.write(block)
        view[: len(block)] = block
        self._position += len(block)
        return len(block)


def is_readable_here(address: TableAddress) -> bool:
    """Whether this process should read the table: a path may exist on another machine only."""
    is_path = not (address.scheme or address.full in (DIABETES, PIPED))
    return not is_path or Path(address.full).exists()


def find_source(address: TableAddress) -> ByteSource:
    """Find the file or folder at an address.

    Raises
    ------
    UsageError
        When nothing is piped to standard input.
    DataError
        When there is no such file, it cannot hold a table, or the package that reads its kind of
        address is not installed.
    """
    if address.full == PIPED:
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError("--data - reads standard input, and nothing is piped there")
        return _StandardInput()
    if address.scheme:
        return _at_address(address)
    return _on_disk(address.full, address)


def _on_disk(path: str, address: TableAddress) -> ByteSource:
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        raise DataError(f"--data {address} does not exist: give {READABLE}") from None
    except ValueError as error:  # a NUL
        raise DataError(f"--data {str(address)!r} is not a path: {error}") from None
    if stat.S_ISREG(mode):
        return ByteSource(path)
    if not stat.S_ISDIR(mode):
        raise DataError(f"--data {address} is a pipe or a device: pipe it into --data -")
    import fsspec

    return _folder(fsspec.filesystem("file"), str(Path(path).absolute()), address)


def _at_address(address: TableAddress) -> ByteSource:
    import fsspec

    if address.is_redacted:
        raise DataError(
            f"--data {address} was stored without its secrets: give the full address again with "
            "--data"
        )
    is_web = address.scheme in _WEB
    try:
        system, path = fsspec.core.url_to_fs(address.full, **(_web_options() if is_web else {}))
    except ImportError as error:
        raise DataError(f"cannot read --data {address}: {error}") from error
    except ValueError as error:
        if "Protocol not known" not in str(error):
            raise
        raise DataError(
            f"--data {address}: unknown kind of address '{address.scheme}': give a path, "
            "https://…, s3://…, or a database such as postgresql+psycopg://… with --query"
        ) from None
    if address.scheme in ("file", "local"):
        return _on_disk(path, address)
    if not is_web and system.isdir(path):
        return _folder(system, path, address)
    return ByteSource(path, system)


def _web_options() -> dict[str, Any]:
    """Use the environment's proxies and .netrc; set no total timeout, as files may be large."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=_CONNECT_TIMEOUT, sock_read=_READ_TIMEOUT
    )
    return {"client_kwargs": {"trust_env": True, "timeout": timeout}}


def _folder(system: Any, path: str, address: TableAddress) -> ByteSource:
    """Find the Parquet files in a folder and its subfolders, except hidden ones."""
    root = path.rstrip("/")
    files = [
        file
        for file in sorted(system.find(path))
        if file.lower().endswith(_PARQUET)
        and not any(part.startswith((".", "_")) for part in _relative_parts(file, root))
    ]
    if not files:
        raise DataError(f"--data {address} is a folder without Parquet files: give {READABLE}")
    return ByteSource(root, system, tuple(files))


def _relative_parts(file: str, root: str) -> tuple[str, ...]:
    return PurePosixPath(file.removeprefix(root).lstrip("/")).parts

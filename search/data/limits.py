"""How many rows and how much memory a table may take, checked while it is read."""

from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from search.environment import free_memory
from search.errors import DataError
from search.formatting import size

if TYPE_CHECKING:
    import pyarrow as pa

Piece = TypeVar("Piece", bound=Sized)

# A table exists in three copies: as it was read, joined, and divided into training and hold-out.
_COPIES = 3
# Approximate bytes of a Python object, and of the pointer to it.
_OBJECT, _POINTER = 100, 8


@dataclass(frozen=True)
class Limits:
    """Limits of a table. A larger table is an error; it is never sampled.

    Attributes
    ----------
    max_rows
        Number of rows; ``None`` for no limit.
    max_bytes
        Bytes in memory; ``None`` for a share of the free memory.
    copies
        Number of copies of the table that must fit into the free memory, if `max_bytes` is not
        given.
    """

    max_rows: int | None = None
    max_bytes: int | None = None
    copies: int = _COPIES

    @cached_property
    def memory(self) -> int:
        """Bytes in memory that the table may take."""
        return self.max_bytes or free_memory() // self.copies

    def check(self, rows: int, n_bytes: int = 0) -> None:
        """Raise `DataError` if the part of a table that was read exceeds a limit."""
        if self.max_rows is not None and rows > self.max_rows:
            raise DataError(
                f"the table has more than {self.max_rows:,} rows: raise --max-rows, or give a "
                "smaller table"
            )
        if n_bytes > self.memory:
            if self.copies < _COPIES:
                raise DataError(
                    f"the table takes more than the {size(self.memory)} of free memory: end other "
                    "programs, or use a larger machine"
                )
            share = "" if self.max_bytes else f", a third of the free {size(free_memory())}"
            raise DataError(
                f"the table takes more than {size(self.memory)} in memory{share} (after "
                f"{rows:,} rows): leave rows or columns out, or raise --max-bytes"
            )

    def collect(self, pieces: Iterable[Piece], n_bytes_of: Callable[[Piece], int]) -> list[Piece]:
        """Return the pieces of a table; stop with `DataError` at the first that exceeds a limit.

        Parameters
        ----------
        pieces
            Consecutive rows of the table; ``len()`` gives their number.
        n_bytes_of
            Returns the bytes that a piece takes in a data frame.
        """
        kept: list[Piece] = []
        rows = n_bytes = 0
        for piece in pieces:
            kept.append(piece)
            rows += len(piece)
            n_bytes += n_bytes_of(piece)
            self.check(rows, n_bytes)
        return kept


# Limits for reading a table again. The study has accepted the table before, under limits that the
# user may have changed.
ALL_FREE_MEMORY = Limits(copies=1)


def bytes_in_pandas(piece: "pa.RecordBatch | pa.Table") -> int:
    """Return the approximate bytes of an Arrow table as a data frame.

    Columns with missing values and columns of objects take more there than in Arrow.
    """
    return sum(map(_column_bytes, piece.columns))


def _column_bytes(column: "pa.Array | pa.ChunkedArray") -> int:
    import pyarrow as pa

    kind, n_rows = column.type, len(column)
    objects = (
        pa.types.is_nested,
        pa.types.is_decimal,
        pa.types.is_binary,
        pa.types.is_fixed_size_binary,
        pa.types.is_date,
        pa.types.is_time,
    )
    if any(is_kind(kind) for is_kind in objects):
        return int(column.nbytes + (_OBJECT + _POINTER) * n_rows)
    if column.null_count:
        return max(int(column.nbytes), _POINTER * n_rows)
    return n_rows if pa.types.is_boolean(kind) else int(column.nbytes)

"""How large a table may be that is read, and how much memory is free."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from search.environment import free_memory
from search.errors import DataError
from search.formatting import size

if TYPE_CHECKING:
    import pyarrow as pa

# A table is there once as it was read, once as it is put together, and once divided.
_COPIES = 3
# Bytes of an object of Python's, about, and of the place where it is noted.
_OBJECT, _POINTER = 100, 8


@dataclass(frozen=True)
class Bounds:
    """Bounds of a table, kept while it is read: what goes past them is an error, never a sample.

    Attributes
    ----------
    max_rows
        Rows at most; ``None`` for any number.
    max_bytes
        Bytes in memory at most; ``None`` for a part of what is free.
    copies
        So many tables are to fit into what is free, where `max_bytes` does not say.
    """

    max_rows: int | None = None
    max_bytes: int | None = None
    copies: int = _COPIES

    @cached_property
    def room(self) -> int:
        """Bytes in memory that the table may take."""
        return self.max_bytes or free_memory() // self.copies

    def check(self, rows: int, n_bytes: int = 0) -> None:
        """Raise `DataError` where a table, as far as it was read, is past the bounds."""
        if self.max_rows is not None and rows > self.max_rows:
            raise DataError(
                f"the table has more than {self.max_rows:,} rows: raise --max-rows, or name a "
                "smaller table"
            )
        if n_bytes > self.room:
            if self.copies < _COPIES:
                raise DataError(
                    f"the table takes more than the {size(self.room)} of memory that are free: end "
                    "what else takes some, or take a larger machine"
                )
            limit = "" if self.max_bytes else f", a third of what is free: {size(free_memory())}"
            raise DataError(
                f"the table takes more than {size(self.room)} in memory{limit} (after "
                f"{rows:,} rows): leave rows or columns out, or allow more with --max-bytes"
            )


# Of a table that was accepted once, by whatever bounds: as much as there is.
KNOWN = Bounds(copies=1)


def bytes_in_pandas(column: "pa.Array") -> int:
    """Return about what a column takes in a data frame: more than in Arrow, where it has gaps."""
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

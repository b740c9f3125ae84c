"""Reads Feather (Arrow's IPC file format) and JSON Lines."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from search.data.limits import Limits, bytes_in_pandas

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MAGIC = b"ARROW1"
# The longest line of JSON Lines.
_MAX_LINE_BYTES = 16_000_000


def read_feather(file: BinaryIO, limits: Limits) -> "pd.DataFrame":
    """Read a seekable file.

    Raises
    ------
    DataError
        When the table exceeds the limits.
    Exception
        Any error that Arrow raises for a file that is damaged.
    """
    import pyarrow as pa

    with pa.ipc.open_file(file) as reader:
        batches = (reader.get_batch(k) for k in range(reader.num_record_batches))
        return to_pandas(reader.schema, batches, limits)


def read_json_lines(file: BinaryIO, limits: Limits) -> "pd.DataFrame":
    """Read a JSON object from each line; a field that it lacks is missing. Raises as above."""
    import pyarrow as pa
    from pyarrow.json import ReadOptions, read_json

    table = read_json(file, ReadOptions(block_size=_MAX_LINE_BYTES))
    for place, field in enumerate(table.schema):
        if pa.types.is_null(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(pa.float64()))
    return to_pandas(table.schema, table.to_batches(), limits)


def to_pandas(
    schema: "pa.Schema", batches: "Iterable[pa.RecordBatch]", limits: Limits
) -> "pd.DataFrame":
    """Convert record batches, after they were validated; raise `DataError` beyond the limits."""
    import pyarrow as pa

    kept = limits.collect(_validated(batches), bytes_in_pandas)
    frame: pd.DataFrame = pa.Table.from_batches(kept, schema).to_pandas()
    return frame


def _validated(batches: "Iterable[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
    """Raise for invalid UTF-8 and for offsets out of range: a damaged file could crash Arrow."""
    for batch in batches:
        batch.validate(full=True)
        yield batch

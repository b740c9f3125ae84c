"""From Parquet to a table: a file, or a folder whose ``name=value`` folders are columns."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from search.data.limits import Bounds, bytes_in_pandas
from search.data.sources import ByteSource

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

MAGIC = b"PAR1"
# Values that are read at once.
_BATCH = 4_000_000


def read_parquet(file: BinaryIO, bounds: Bounds) -> "pd.DataFrame":
    """Read a file that can be sought in.

    Raises
    ------
    DataError
        When the table is larger than it may be.
    Exception
        Whatever Arrow raises of a file that is none.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as found:
        bounds.check(found.metadata.num_rows, _largest_group(found.metadata))
        schema = found.schema_arrow
        return _frame(schema, found.iter_batches(_rows(schema)), bounds)


def read_folder(source: ByteSource, bounds: Bounds) -> "pd.DataFrame":
    """Read a folder's files, in the order of their names, as one table; raises the same.

    Columns that only some files have are missing in the others.
    """
    import pyarrow.dataset as ds
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    options = ds.FileSystemFactoryOptions(
        partition_base_dir=source.path, partitioning=ds.HivePartitioning.discover()
    )
    factory = ds.FileSystemDatasetFactory(
        PyFileSystem(FSSpecHandler(source.system)),
        list(source.files),
        ds.ParquetFileFormat(),
        options,
    )
    schema = factory.inspect(promote_options="permissive")
    found = factory.finish(schema)
    bounds.check(found.count_rows())
    for fragment in found.get_fragments():
        bounds.check(0, _largest_group(fragment.metadata))
    few = {"batch_readahead": 1, "fragment_readahead": 1}
    return _frame(schema, found.to_batches(batch_size=_rows(schema), **few), bounds)


def _rows(schema: "pa.Schema") -> int:
    return max(1, min(65_536, _BATCH // max(1, len(schema))))


def _largest_group(metadata: "pq.FileMetaData") -> int:
    """Return the bytes of the largest row group: a page of it is unpacked whole."""
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    sizes = (
        sum(group.column(k).total_uncompressed_size for k in range(group.num_columns))
        for group in groups
    )
    return max(sizes, default=0)


def _frame(
    schema: "pa.Schema", batches: "Iterator[pa.RecordBatch]", bounds: Bounds
) -> "pd.DataFrame":
    import pyarrow as pa

    kept: list[Any] = []
    rows = n_bytes = 0
    for batch in batches:
        batch.validate(full=True)  # texts that are no UTF-8, places that are none
        kept.append(batch)
        rows += batch.num_rows
        n_bytes += sum(map(bytes_in_pandas, batch.columns))
        bounds.check(rows, n_bytes)
    frame: pd.DataFrame = pa.Table.from_batches(kept, schema).to_pandas()
    return frame

"""Reads Parquet: a file, or a folder whose ``name=value`` subfolders become columns."""

from typing import TYPE_CHECKING, BinaryIO

from search.data.arrow import to_pandas
from search.data.limits import Limits
from search.data.sources import ByteSource

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

MAGIC = b"PAR1"
# Rows of a batch, and values, in tables of many columns.
_BATCH_ROWS, _BATCH_VALUES = 65_536, 4_000_000


def read_parquet(file: BinaryIO, limits: Limits) -> "pd.DataFrame":
    """Read a seekable file.

    Raises
    ------
    DataError
        When the table exceeds the limits.
    Exception
        Any error that Arrow raises for a file that is damaged or not Parquet.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as parquet:
        limits.check(parquet.metadata.num_rows, _largest_group(parquet.metadata))
        schema = parquet.schema_arrow
        return to_pandas(schema, parquet.iter_batches(_batch_rows(schema)), limits)


def read_folder(source: ByteSource, limits: Limits) -> "pd.DataFrame":
    """Read a folder's files as one table, in the order of their names.

    A column that only some files have is missing in the rows of the others. Raises as
    `read_parquet` does.
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
    dataset = factory.finish(schema)
    limits.check(dataset.count_rows())
    for fragment in dataset.get_fragments():
        limits.check(0, _largest_group(fragment.metadata))
    batches = dataset.to_batches(
        batch_size=_batch_rows(schema), batch_readahead=1, fragment_readahead=1
    )
    return to_pandas(schema, batches, limits)


def _batch_rows(schema: "pa.Schema") -> int:
    return max(1, min(_BATCH_ROWS, _BATCH_VALUES // max(1, len(schema))))


def _largest_group(metadata: "pq.FileMetaData") -> int:
    """Return the bytes of the largest row group: a page may be as large, and is read at once."""
    # The columns are not asked: for a damaged one, Arrow would end the process.
    groups = (metadata.row_group(k) for k in range(metadata.num_row_groups))
    return max((group.total_byte_size for group in groups), default=0)

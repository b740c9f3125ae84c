"""Reads a table: CSV, TSV, Parquet, or the diabetes data that scikit-learn brings."""

import csv
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from search.errors import DataError
from search.spec import DIABETES, FRAME
from storage.errors import first_line

if TYPE_CHECKING:
    import pandas as pd

_READABLE = "a CSV, TSV (also .gz) or Parquet file"


def is_here(source: str) -> bool:
    """Whether `read_table` would find something to read."""
    return source == DIABETES or Path(source).exists()


def read_table(source: str) -> "pd.DataFrame":
    """Read a table.

    Parameters
    ----------
    source
        A path, or ``diabetes`` where no file has that name.

    Raises
    ------
    DataError
        When there is no such file, it cannot be read, or it has no rows.
    """
    path = Path(source)
    if source == DIABETES and not path.exists():
        return _diabetes()
    if not path.is_file():
        if source == FRAME:
            raise DataError("the study's table was in memory: write it to a file, and name it here")
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"--data {source} {what}: name {_READABLE}")
    try:
        table = _read(path)
    except (OSError, ValueError, csv.Error, EOFError, zlib.error) as error:
        # pandas' and Arrow's own errors are ValueErrors, EmptyDataError among them.
        if path.stat().st_size == 0 or "No columns to parse" in str(error):
            raise DataError(f"--data {source} is empty: name {_READABLE}") from None
        reason = first_line(error)
        if isinstance(error, UnicodeDecodeError):
            reason = "it is not UTF-8 text; save it as UTF-8"
        elif found := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", reason):
            fields, line, saw = found.groups()
            reason = f"line {line} has {saw} fields, the lines before it {fields}"
        raise DataError(f"cannot read --data {source}: {reason}") from error
    if table.empty:
        raise DataError(f"--data {source} has no rows ({table.shape[1]} columns)")
    return _without_index(table).rename(columns=str)


def _without_index(table: "pd.DataFrame") -> "pd.DataFrame":
    """Make columns of what was taken for row labels: an unnamed first column, a Parquet index."""
    return table if _is_numbered(table) else table.reset_index()


def _is_numbered(table: "pd.DataFrame") -> bool:
    """Whether the rows are just numbered from 0, as pandas does where there are no labels."""
    import pandas as pd

    return table.index.name is None and table.index.equals(pd.RangeIndex(len(table)))


def _diabetes() -> "pd.DataFrame":
    from sklearn.datasets import load_diabetes

    frame: pd.DataFrame = load_diabetes(as_frame=True).frame
    return frame


def _read(path: Path) -> "pd.DataFrame":
    import pandas as pd

    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] in ([".parquet"], [".pq"]):
        return pd.read_parquet(path)
    if suffixes[-1:] in ([".xlsx"], [".xls"], [".ods"]):
        raise ValueError("spreadsheets are not read; export it as CSV")
    options = {"sep": _separator(path, suffixes), "encoding": "utf-8-sig", "low_memory": False}
    table = pd.read_csv(path, **options)
    if not _is_numbered(table) and table.iloc[:, -1].isna().all():
        # A separator at the end of each row, not labels at its beginning.
        table = pd.read_csv(path, index_col=False, **options)
    return table


def _separator(path: Path, suffixes: list[str]) -> str:
    """Tabs for .tsv; otherwise commas, unless the header has none but has semicolons or tabs."""
    if ".tsv" in suffixes:
        return "\t"
    import gzip

    opener = gzip.open if ".gz" in suffixes else open
    with opener(path, "rt", encoding="utf-8-sig") as file:
        header = file.readline(1_000_000)
    return next((mark for mark in (",", ";", "\t") if mark in header), ",")

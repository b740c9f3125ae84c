"""Memory used by reading a table, measured in a separate process."""

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from processes import PYTHON, environment

from search.data.limits import ALL_FREE_MEMORY, Limits
from search.environment import free_memory
from search.errors import DataError

MAX_BYTES = 40_000_000
# Peak while reading: the table, the current piece and its text.
MAX_PEAK = 3 * MAX_BYTES
READ = f"""
import os, resource
import pandas, pyarrow.parquet, pyarrow.dataset, sqlalchemy, fsspec
from search.data.limits import Limits
from search.environment import free_memory
from search.errors import DataError
from search.data.table import read_table
free_memory()
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
try:
    read_table(os.environ["SOURCE"], os.environ.get("QUERY"), Limits(max_bytes={MAX_BYTES}))
except DataError as error:
    print(peak() - before, error)
"""


ENDLESS = """
import sys
while True:
    sys.stdout.write("1,2\\n" * 10_000)
"""


def test_a_table_may_take_a_third_of_the_free_memory() -> None:
    assert 0 < free_memory() <= psutil.virtual_memory().total
    memory = Limits().memory
    assert memory == pytest.approx(free_memory() / 3, rel=0.3)
    with pytest.raises(DataError, match=r"a third of the free .*, or raise --max-b"):
        Limits().check(10, memory * 2)
    Limits().check(10**9, memory // 2)


def test_a_table_that_was_accepted_before_may_take_all_free_memory() -> None:
    ALL_FREE_MEMORY.check(10, Limits().memory * 2)
    with pytest.raises(DataError, match=r"more than the .* of free memory: end other"):
        ALL_FREE_MEMORY.check(10, ALL_FREE_MEMORY.memory * 2)


def write_gzip(folder: Path, head: bytes, block: bytes, times: int, tail: bytes = b"") -> str:
    """Write a table whose block is repeated; a file of gzip may have several members."""
    members = [gzip.compress(part, 1) for part in (head, block, tail)]
    (folder / "t.csv.gz").write_bytes(members[0] + members[1] * times + members[2])
    return str(folder / "t.csv.gz")


def numbers(folder: Path) -> str:
    return write_gzip(folder, b"a,b\n", b"1,2\n" * 2**20, 300)


def words(folder: Path) -> str:
    block = b"".join(b"word %d,w%d\n" % (i, i) for i in range(100_000))
    return write_gzip(folder, b"a,b\n", block, 500)


def a_line(folder: Path) -> str:
    return write_gzip(folder, b"a,b\n", b"q" * 10**7, 120)


def a_cell(folder: Path) -> str:
    return write_gzip(folder, b'a,b\n1,"', (b"q" * 99 + b"\n") * 10**5, 60)


def a_header(folder: Path) -> str:
    return write_gzip(folder, b"", b"column," * 10**6, 100)


def parquet(folder: Path) -> str:
    table = pa.table({"a": np.zeros(10**6), "b": ["q" * 50] * 10**6})
    with pq.ParquetWriter(folder / "t.parquet", table.schema, compression="zstd") as writer:
        for _ in range(24):
            writer.write_table(table)
    return str(folder / "t.parquet")


def commas(folder: Path) -> str:
    return write_gzip(folder, b"a,b\n1,2\n", b"," * 10**7, 20)


def zeros_then_a_word(folder: Path) -> str:
    """Numbers that take 8 bytes each, and 40 bytes as text."""
    block = (b"0" * 24 + b"1,2\n") * 10_000
    return write_gzip(folder, b"a,b\n", block, 120, b"x,2\n")


def write_parquet(folder: Path, column: "pa.Array", **options: Any) -> str:
    pq.write_table(pa.table({"a": column, "b": column}), folder / "t.parquet", **options)
    return str(folder / "t.parquet")


def nulls(folder: Path) -> str:
    return write_parquet(folder, pa.nulls(10**7, pa.null()))


def booleans(folder: Path) -> str:
    return write_parquet(folder, pa.array([True, None] * 4 * 10**6))


def dates(folder: Path) -> str:
    return write_parquet(folder, pa.array(np.arange(2 * 10**6, dtype=np.int32), pa.date32()))


def a_page(folder: Path) -> str:
    zeros = pa.array(np.zeros(2 * 10**7))
    size = {"row_group_size": 10**9, "data_page_size": 10**9, "compression": "zstd"}
    return write_parquet(folder, zeros, use_dictionary=False, **size)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make_file",
    [
        numbers,
        words,
        a_line,
        a_cell,
        a_header,
        commas,
        zeros_then_a_word,
        parquet,
        nulls,
        booleans,
        dates,
        a_page,
    ],
)
def test_a_file_that_unpacks_to_gigabytes_is_refused_early(
    make_file: Callable[[Path], str], tmp_path: Path
) -> None:
    growth, message = reading(make_file(tmp_path))
    assert growth < MAX_PEAK, message
    assert "raise --max-bytes" in message or "its first line has" in message


@pytest.mark.slow
def test_an_endless_query_and_an_endless_pipe_are_refused_early(tmp_path: Path) -> None:
    import sqlite3

    sqlite3.connect(tmp_path / "empty.db").close()
    endless = "with recursive n(x) as (select 1 union all select x + 1 from n) select x, x from n"
    query = endless.replace("x, x from", "x, 'text ' || x as t from")
    growth, message = reading(f"sqlite:///{tmp_path}/empty.db", query=query)
    assert growth < MAX_PEAK, message
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as pipe:
        try:
            growth, message = reading("-", piped=pipe.stdout)
        finally:
            pipe.kill()
    assert growth < MAX_PEAK, message
    assert "takes more than 40 MB in memory" in message


def reading(
    source: str, query: str | None = None, piped: IO[bytes] | None = None
) -> tuple[int, str]:
    """Read a table in a separate process; return its growth in bytes and its error message."""
    asked = {"SOURCE": source}
    done = subprocess.run(
        [PYTHON, "-c", READ],
        stdin=piped,
        capture_output=True,
        text=True,
        env=environment() | asked | ({} if query is None else {"QUERY": query}),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    growth, _, message = done.stdout.partition(" ")
    return int(growth), message

"""Parquet files, intact and damaged."""

import datetime
import io
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made import make_dataset
from table_errors import error_of

from search.data.limits import Limits
from search.data.table import read_table
from search.errors import DataError

N = 60
TABLE = pd.DataFrame(
    {
        "x": np.arange(N) / 7,
        "day": pd.date_range("2024-01-01", periods=N),
        "far": np.array(["9999-01-01"] * N, dtype="datetime64[s]"),
        "zoned": pd.date_range("2024-01-01", periods=N, tz="Europe/Paris"),
        "date": [datetime.date(2024, 1, 1)] * N,
        "cents": [Decimal(i) / 100 for i in range(N)],
        "city": pd.Categorical(["Delft", "Leiden"] * 30),
        "holes": pd.array([1, None] * 30, dtype="Int64"),
        "maybe": pd.array([True, None] * 30, dtype="boolean"),
        "word": ["x", None] * 30,
        "y": np.arange(N) * 0.5,
    }
)


def test_a_file_is_read_as_pandas_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    for table in (TABLE, TABLE.set_index("word"), TABLE.drop(index=3)):
        table.to_parquet(path)
        expected = pd.read_parquet(path)
        if expected.index.name or not expected.index.equals(pd.RangeIndex(len(expected))):
            expected = expected.reset_index()
        pd.testing.assert_frame_equal(read_table(str(path)), expected)


def test_an_index_that_is_named_like_a_column_is_read(tmp_path: Path) -> None:
    def read(table: pd.DataFrame) -> list[str]:
        table.to_parquet(tmp_path / "t.parquet")
        found = read_table(str(tmp_path / "t.parquet"))
        assert found["y"].tolist() == TABLE["y"].tolist()
        return list(found.columns)

    table = TABLE[["x", "y"]]
    assert read(table.set_index("x", drop=False)) == ["x", "y"]
    assert read(table.set_index(table["y"].rename("x") + 3)) == ["x (index)", "x", "y"]
    both = table.set_index([table["x"], table["y"].rename("z")])
    assert read(both) == ["z", "x", "y"]


def test_columns_of_many_types_become_features(tmp_path: Path) -> None:
    TABLE.to_parquet(tmp_path / "t.parquet")
    dataset = make_dataset(str(tmp_path / "t.parquet"), "y")
    assert len(dataset.X) == N
    assert set(map(str, dataset.X.dtypes)) == {"float32"}


@pytest.mark.parametrize(
    ("values", "column"),
    [
        pytest.param([[1, 2]] * N, "x", id="lists"),
        pytest.param([[1, 2]] * N, "y", id="lists-target"),
        pytest.param([{"k": 1}] * N, "x", id="structs"),
        pytest.param([{"k": 1}] * N, "y", id="structs-target"),
        pytest.param([b"x"] * N, "y", id="bytes-target"),
    ],
)
def test_nested_columns_are_refused_by_name(
    values: list[object], column: str, tmp_path: Path
) -> None:
    table = pd.DataFrame({"x": np.arange(N), "y": np.arange(N)}).assign(**{column: values})
    table.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=f"column '{column}' holds values of type"):
        make_dataset(str(tmp_path / "t.parquet"), "y")


def test_duplicate_column_names_are_refused(tmp_path: Path) -> None:
    numbers = pa.array(range(N))
    pq.write_table(pa.table([numbers, numbers, numbers], ["a", "a", "y"]), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"two columns of --data .* are called 'a'"):
        read_table(str(tmp_path / "t.parquet"))


def test_a_table_that_exceeds_the_limits_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    alike = pa.table({"a": pa.array(np.zeros(5_000_000)), "y": pa.array(np.zeros(5_000_000))})
    pq.write_table(alike, path)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(DataError, match="takes more than 20 MB in memory"):
        read_table(str(path), limits=Limits(max_bytes=20_000_000))
    with pytest.raises(DataError, match="more than 1,000 rows"):
        read_table(str(path), limits=Limits(max_rows=1000))


def intact_file() -> bytes:
    """Write the table without Arrow's schema: its base64 would reveal most damage at once."""
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(TABLE.drop(columns="zoned")), file, store_schema=False)
    return file.getvalue()


INTACT = intact_file()
# The footer ends 8 bytes before the end of the file, after which its length is written.
FOOTER = len(INTACT) - 8 - int.from_bytes(INTACT[-8:-4], "little")


@pytest.mark.slow
@given(
    flips=st.lists(
        st.tuples(st.integers(0, len(INTACT) - 1), st.integers(1, 255)), min_size=1, max_size=8
    ),
    cut=st.integers(0, 3),
)
@example(flips=[(FOOTER + 19, 1)], cut=0)  # Arrow ends the process if it describes this column
@settings(max_examples=60)
def test_a_damaged_file_is_read_or_refused_in_one_line(
    flips: list[tuple[int, int]], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(INTACT)
    for place, change in flips:
        content[place] ^= change
    path = tmp_path_factory.mktemp("damaged") / "t.parquet"
    path.write_bytes(content[: len(content) - cut])
    assert "\n" not in error_of(str(path), "y")

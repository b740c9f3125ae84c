"""Feather and JSON Lines."""

import gzip
from pathlib import Path

import pandas as pd
import pytest
from pyarrow.feather import write_feather

from search.data.addresses import TableAddress
from search.data.limits import Limits
from search.data.table import read_table
from search.errors import DataError

TABLE = pd.DataFrame(
    {
        "size": [1.5, None, 3.0],
        "rooms": [1, 2, 3],
        "lift": [True, False, True],
        "name": ["a", None, "NA"],
        "sold": pd.to_datetime(["2024-01-01", "2024-02-03", "2024-03-04"]),
    }
)
LINES = """\
{"size": 1.5, "rooms": 1, "lift": true, "name": "a", "sold": "2024-01-01 00:00:00"}
{"rooms": 2, "lift": false, "name": null, "sold": "2024-02-03 00:00:00"}

{"size": 3, "rooms": 3, "lift": true, "name": "NA", "sold": "2024-03-04 00:00:00", "empty": null}
"""


@pytest.mark.parametrize("compression", ["lz4", "uncompressed"])
def test_feather_is_read(compression: str, tmp_path: Path) -> None:
    write_feather(TABLE, str(tmp_path / "t.feather"), compression)
    pd.testing.assert_frame_equal(read_table(str(tmp_path / "t.feather")), TABLE, check_dtype=False)
    (tmp_path / "packed").write_bytes(gzip.compress((tmp_path / "t.feather").read_bytes()))
    assert len(read_table(str(tmp_path / "packed"))) == 3


@pytest.mark.parametrize("name", ["t.jsonl", "t.json", "t"])
def test_json_lines_are_read(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(LINES)
    found = read_table(str(tmp_path / name))
    assert found["empty"].isna().all()
    pd.testing.assert_frame_equal(found.drop(columns="empty"), TABLE, check_dtype=False)
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(LINES.encode()))
    assert len(read_table(str(tmp_path / "t.jsonl.gz"))) == 3


def test_studies_of_such_files_are_named_after_them() -> None:
    for name in ("houses.jsonl.gz", "houses.ndjson", "houses.json", "houses.feather"):
        assert TableAddress(f"a/{name}").study_name == "houses"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'[{"a": 1}, {"a": 2}]', "it is a JSON array; write one object per line"),
        (b'{"a": 1}\n{"a": "x"}\n', "changed from number to string in row 1"),
        (b'{"a": 1}\n{"a": ', "cannot read --data"),
        (b'{"a": 1, "a": 2}\n', "cannot read --data"),
        (b"FEA1 an old file", "Feather files of version 1 are not read"),
        (b"ARROW1\0\0 no more", "cannot read --data"),
    ],
)
def test_other_files_are_refused_in_one_line(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(DataError) as error:
        read_table(str(tmp_path / "t"))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_limits_apply(tmp_path: Path) -> None:
    many = pd.DataFrame({"a": [0.0] * 500_000})
    write_feather(many, str(tmp_path / "t.feather"), "zstd")
    (tmp_path / "t.jsonl").write_text('{"a": 0.5}\n' * 2000)
    for name in ("t.feather", "t.jsonl"):
        with pytest.raises(DataError, match="more than 1,000 rows"):
            read_table(str(tmp_path / name), limits=Limits(max_rows=1000))
    with pytest.raises(DataError, match="takes more than 1 MB in memory"):
        read_table(str(tmp_path / "t.feather"), limits=Limits(max_bytes=1_000_000))

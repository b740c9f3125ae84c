"""Tables from files, folders, addresses and standard input, all of them real."""

import gzip
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import pandas as pd
import pytest
from web import SECRET, serving

from search.data.delimited import PIECE_VALUES
from search.data.limits import Limits
from search.data.table import read_table
from search.errors import DataError, UsageError

TABLE = pd.DataFrame({"a": [1, 2, 3], "ü": ["x", "y, z", None], "c": [1.5, None, 2.5]})
TEXT = TABLE.to_csv(index=False).encode()


def parquet(table: pd.DataFrame = TABLE) -> bytes:
    file = io.BytesIO()
    table.to_parquet(file)
    return file.getvalue()


FORMATS = {
    "t.csv": TEXT,
    "t.tsv": TABLE.to_csv(index=False, sep="\t").encode(),
    "t.csv.gz": gzip.compress(TEXT),
    "t.parquet": parquet(),
    "t.parquet.gz": gzip.compress(parquet()),
}


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    files = {f"/{name}": content for name, content in FORMATS.items()}
    with serving(files | {"/signed/t.csv": TEXT, "/locked/t.csv": TEXT}) as host:
        yield host


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", ["file", "memory", "http"])
def test_every_format_is_read_from_every_kind_of_address(
    kind: str, name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "file":
        (tmp_path / name).write_bytes(FORMATS[name])
        address = f"file://{tmp_path}/{name}"
    elif kind == "memory":
        fsspec.filesystem("memory").pipe(f"/{tmp_path.name}/{name}", FORMATS[name])
        address = f"memory://{tmp_path.name}/{name}"
    else:
        address = f"http://{request.getfixturevalue('web')}/{name}"
    pd.testing.assert_frame_equal(read_table(address), TABLE)


def test_passwords_and_signatures_of_web_addresses_are_used_and_never_printed(web: str) -> None:
    signed = f"http://{web}/signed/t.csv?X-Amz-Signature="
    assert len(read_table(signed + SECRET)) == 3
    assert len(read_table(f"http://ann:{SECRET}@{web}/locked/t.csv")) == 3
    for address in (f"{signed}no-{SECRET}", f"http://bob:{SECRET}@{web}/locked/t.csv"):
        with pytest.raises(DataError, match=r"is not found \(403, .*Forbidden") as error:
            read_table(address)
        assert SECRET not in str(error.value)
        assert error.value.__cause__ is None


def test_a_redacted_address_asks_for_the_full_one(web: str) -> None:
    with pytest.raises(
        DataError, match=r"X-Amz-Signature=\*\*\* was stored without its secrets.*again with"
    ):
        read_table(f"http://{web}/signed/t.csv?X-Amz-Signature=***")


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://{web}/none.csv", "is not found (404, "),
        ("http://127.0.0.1:9/t.csv", "is not found (Cannot connect"),
        ("s3://bucket/t.csv", "Install s3fs"),
        ("memory://none/t.csv", "is not found"),
        ("gs://bucket/t.csv", "Please install gcsfs"),
        ("abfs://bucket/t.csv", "Install adlfs"),
        ("nowhere://t.csv", "unknown kind of address 'nowhere'"),
        ("file:///none/t.csv", "does not exist"),
    ],
)
def test_an_address_that_cannot_be_read_is_reported_in_one_line(
    address: str, says: str, web: str
) -> None:
    with pytest.raises(DataError) as error:
        read_table(address.format(web=web))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def parts(folder: Path) -> Path:
    for year, values in ((2024, [1, 2]), (2025, [3.5])):
        (folder / f"year={year}" / "city=Delft").mkdir(parents=True)
        pd.DataFrame({"a": values}).to_parquet(folder / f"year={year}/city=Delft/1.parquet")
    pd.DataFrame({"a": [9], "new": ["x"]}).to_parquet(folder / "year=2025/city=Delft/2.parquet")
    (folder / "_SUCCESS").write_text("")
    (folder / "_old.parquet").write_text("no Parquet")
    (folder / "README.md").write_text("not a part")
    return folder


def test_a_folder_of_parquet_files_is_one_table_in_the_order_of_their_names(
    tmp_path: Path,
) -> None:
    folder = parts(tmp_path / "houses")
    for source in (str(folder), f"{folder}/", f"file://{folder}"):
        table = read_table(source)
        assert table["a"].tolist() == [1.0, 2.0, 3.5, 9.0]
        assert table["year"].tolist() == [2024, 2024, 2025, 2025]
        assert set(table["city"]) == {"Delft"}
        assert table["new"].isna().tolist() == [True, True, True, False]
    with pytest.raises(DataError, match="more than 3 rows"):
        read_table(str(folder), limits=Limits(max_rows=3))


def test_a_folder_at_an_address_is_read(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(parts(tmp_path / "houses")), f"/{tmp_path.name}", recursive=True)
    assert len(read_table(f"memory://{tmp_path.name}")) == 4


def test_a_folder_without_parquet_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(TEXT)
    fsspec.filesystem("memory").pipe(f"/{tmp_path.name}/t.csv", TEXT)
    for source in (str(tmp_path), f"memory://{tmp_path.name}"):
        with pytest.raises(DataError, match="is a folder without Parquet files"):
            read_table(source)


def piped(monkeypatch: pytest.MonkeyPatch, content: Any) -> None:
    stream = io.BufferedReader(io.BytesIO(content)) if isinstance(content, bytes) else content
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream, isatty=lambda: False))


@pytest.mark.parametrize("name", [name for name in FORMATS if "tsv" not in name])
def test_the_format_of_standard_input_is_detected_by_its_first_bytes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    piped(monkeypatch, FORMATS[name])
    pd.testing.assert_frame_equal(read_table("-"), TABLE)


def test_standard_input_is_read_twice_for_a_column_of_numbers_and_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    piped(monkeypatch, b"a,b\n" + b"007,1\n" * PIECE_VALUES + b"bond,1\n")
    assert read_table("-")["a"].value_counts().to_dict() == {"007": PIECE_VALUES, "bond": 1}


class Endless(io.RawIOBase):
    """An endless stream of rows."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        rows = len(buffer) // 4
        buffer[: 4 * rows] = b"1,2\n" * rows
        return 4 * rows


def test_an_endless_stream_is_refused_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    piped(monkeypatch, io.BufferedReader(Endless()))
    with pytest.raises(DataError, match="more than 5,000 rows: raise --max-rows"):
        read_table("-", limits=Limits(max_rows=5000))


def test_a_terminal_is_refused_as_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    with pytest.raises(UsageError, match="nothing is piped there"):
        read_table("-")


def test_a_table_from_standard_input_must_be_piped_again() -> None:
    with pytest.raises(DataError, match="came from standard input: pipe it again into --data -"):
        read_table("stdin")


def test_named_pipes_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.csv")
    for source in (str(tmp_path / "fifo.csv"), "/dev/zero", "file:///dev/zero"):
        with pytest.raises(DataError, match="is a pipe or a device: pipe it into --data -"):
            read_table(source)


def test_paths_with_special_characters_are_read(tmp_path: Path) -> None:
    for name in ("a\nb.csv", "a b?c#d.csv", "[x]*.csv", "~x.csv"):
        (tmp_path / name).write_bytes(TEXT)
        assert len(read_table(str(tmp_path / name))) == 3
    with pytest.raises(DataError, match="is not a path"):
        read_table("a\0b.csv")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_read_permission_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(TEXT)
    (tmp_path / "t.csv").chmod(0)
    with pytest.raises(DataError, match="Permission denied"):
        read_table(str(tmp_path / "t.csv"))

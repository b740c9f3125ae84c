"""Unusual CSV and TSV files: each is read, or refused in one line."""

import gzip
import io
import re
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from table_errors import error_of

from search.data.delimited import PIECE_VALUES, read_delimited
from search.data.limits import Limits
from search.data.table import read_table
from search.errors import DataError

CELLS = st.one_of(
    st.integers(-(10**6), 10**6).map(str),
    st.floats(allow_nan=False, width=32).map(repr),
    st.sampled_from(
        ["", "True", "False", "NA", "nan", "inf", "007", "1e400", " x ", "é", "2024-01-01"]
    ),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\0")),
)


def quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if set(cell) & set(',"\r\n;\t') else cell


def read(
    text: bytes, limits: Limits = Limits(max_bytes=10**8), piece_values: int = PIECE_VALUES
) -> pd.DataFrame:
    @contextmanager
    def opened():  # type: ignore[no-untyped-def]
        yield io.BufferedReader(io.BytesIO(text))  # type: ignore[arg-type]

    return read_delimited(opened, False, limits, piece_values)


@settings(max_examples=60)
@example(rows=[["", "0", "0"], ["", "0", "0"], ["True", "0", "0"]], piece=1)
@given(
    rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=30),
    piece=st.integers(1, 40),
)
def test_a_table_read_in_pieces_equals_the_table_read_at_once(
    rows: list[list[str]], piece: int
) -> None:
    lines = ["a,b,c", *(",".join(map(quoted, row)) for row in rows)]
    text = "\n".join(lines).encode()
    # The rows of the first piece decide whether numbers have decimal commas.
    assume(not any(re.search(r",\d", cell) for row in rows for cell in row))
    whole = read(text)
    pieces = read(text, piece_values=piece)
    assert [str(value) for value in pieces.to_numpy().ravel()] == [
        str(value) for value in whole.astype(pieces.dtypes.to_dict()).to_numpy().ravel()
    ]
    assert all(
        now == then or {now.kind, then.kind} <= set("iuf")
        for now, then in zip(pieces.dtypes, whole.dtypes, strict=True)
    )


@settings(max_examples=150)
@given(
    content=st.binary(max_size=300),
    packed=st.booleans(),
    suffix=st.sampled_from(["csv", "tsv", "parquet"]),
)
def test_any_bytes_are_read_or_refused_in_one_line(
    content: bytes, packed: bool, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / f"t.{suffix}"
    path.write_bytes(gzip.compress(content) if packed else content)
    assert "\n" not in error_of(str(path), None)


@st.composite
def tables(draw: st.DrawFn) -> str:
    """Columns of a few distinct values: a mix of numbers, missing values, dates and texts."""
    n_rows, n_columns = draw(st.integers(1, 60)), draw(st.integers(1, 3))
    random = draw(st.randoms(use_true_random=False))
    kinds = [draw(st.lists(CELLS, min_size=1, max_size=4)) for _ in range(n_columns)]
    y = draw(st.sampled_from([["1", "0"], ["0.5", "1e30"], ["a", "b", ""], list("1234567890"), []]))
    lines = [",".join([*(f"c{k}" for k in range(n_columns)), "y"])]
    for _ in range(n_rows):
        own = [quoted(random.choice(kind)) for kind in kinds]
        lines.append(",".join([*own, random.choice(y) if y else repr(random.random())]))
    return "\n".join(lines)


@settings(max_examples=30)  # a champion is made from each example
@given(text=tables())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_any_table_has_a_champion_or_is_refused_in_one_line(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "t.csv"
    path.write_text(text, encoding="utf-8", newline="")
    assert "\n" not in error_of(str(path), "y")


ROWS = "".join(f"{i},{i % 7},{i}.5\n" for i in range(60))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("größe,b,y\n".encode("latin-1") + ROWS.encode(), "it is not UTF-8 text; save it as UTF-8"),
        (("a,b,y\n" + ROWS).encode("utf-16"), "it is not UTF-8 text; save it as UTF-8"),
        (("a,b,y\n" + ROWS).encode("utf-16-le"), "it holds NUL bytes"),
        (f"a,b,y\n{ROWS}1,\0,2\n".encode(), "it holds NUL bytes"),
        (f"a,b,y\n{ROWS}1,2,3,4\n".encode(), "line 62 has 4 fields, the lines before it 3"),
        (f'a,b,y\n{ROWS}1,"2,3\n'.encode(), "EOF inside string"),
        (b"PK\x03\x04 a spreadsheet", "spreadsheets and archives are not read"),
        (b",".join(b"c%d" % i for i in range(150_000)) + b"\n1", "150,000 columns"),
        (gzip.compress(f"a,b,y\n{ROWS}".encode())[:-9], "ended before"),
        (gzip.compress(f"a,b,y\n{ROWS}".encode())[:-8] + b"12345678", "CRC"),
        (b"\x1f\x8b\x08\0 no gzip", "cannot read --data"),
        (b"a,b,a\n1,2,3\n", "2 columns are called 'a': rename them"),
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a,b\n" + b"," * 3000, "its second line has 2,999 fields more than its first"),
        (b"a,b\r0,1\r2,3\r", "its lines end with carriage returns only"),
        (b"\na,b,a\n1,2,3\n", "2 columns are called 'a': rename them"),
        (b"\n" + b"," * 150_000, "150,001 columns"),
    ],
)
def test_a_file_that_is_not_a_table_is_refused_in_one_line(
    text: bytes, says: str, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_bytes(text)
    with pytest.raises(DataError) as error:
        read_table(str(tmp_path / "t.csv"))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("gap", [b"\n", b"\r\n", b" \n\n", b"\xef\xbb\xbf\n"])
def test_empty_lines_before_the_first_rows_do_not_shift_columns(gap: bytes) -> None:
    assert read(gap + b"a;b\n1;2\n").to_dict("list") == {"a": [1], "b": [2]}
    if not gap.startswith(b"\xef"):
        assert read(b"a,b\n" + gap + b"1,2,\n3,4,\n").to_dict("list") == {"a": [1, 3], "b": [2, 4]}
        labelled = read(b"a,b\n" + gap + b"0,1,2\n5,6,7\n")
        assert labelled.to_numpy().tolist() == [[0, 1, 2], [5, 6, 7]]


def test_columns_without_a_name_are_numbered() -> None:
    assert list(read(b"a,,,y\n1,2,3,4\n").columns) == ["a", "Unnamed: 1", "Unnamed: 2", "y"]


def test_text_with_commas_is_not_taken_for_numbers() -> None:
    assert read(b"a;y\n1,5;2\nabout 2,5;3\n")["a"].tolist() == ["1,5", "about 2,5"]
    assert read(b'a,y\n"1,2,3",2\n"2,3",3\n')["a"].tolist() == ["1,2,3", "2,3"]


def test_a_separator_at_the_end_of_each_row_does_not_shift_columns() -> None:
    table = read(b"id,a,y\n0,5,7,\n1,6,8,\n")
    assert table.to_dict("list") == {"id": [0, 1], "a": [5, 6], "y": [7, 8]}
    two = read(b"id,a,y\n0,5,7,,\n1,6,8,,\n")
    assert two.to_dict("list") == {"id": [0, 1], "a": [5, 6], "y": [7, 8]}


def test_separators_in_quoted_names_are_ignored() -> None:
    assert list(read(b'a;"b, c";y\n1;"d, e";3\n').columns) == ["a", "b, c", "y"]
    assert list(read(b'a,"b; c",y\n1,2,3\n').columns) == ["a", "b; c", "y"]


def test_line_breaks_in_quoted_names_are_kept() -> None:
    table = read(b'"size\nm2",price\n1,2\n3,4\n')
    assert table.to_dict("list") == {"size\nm2": [1, 3], "price": [2, 4]}
    other = read(b'"a, b\nc";y\n"1\n2";2\n3;4\n')
    assert other.to_dict("list") == {"a, b\nc": ["1\n2", "3"], "y": [2, 4]}


def test_an_unclosed_quote_in_the_header_is_an_ordinary_character() -> None:
    table = read(b'size 5",y\n1,2\n3,4\n')
    assert table.to_dict("list") == {'size 5"': [1, 3], "y": [2, 4]}


def test_row_labels_of_numbers_and_text_are_text() -> None:
    text = "a,y\n" + "".join(f"{i if i < 30 else 'w'},{i},{i}\n" for i in range(40))
    table = read(text.encode(), piece_values=10)
    assert table["index"].tolist() == [*map(str, range(30)), *["w"] * 10]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"a,b\n" + b"1,2\n" * 10**6, "takes more than 5 MB in memory"),
        (b"q" * 10**7, "a few rows hold more than 8 MB of text: look"),
        (
            b'a,b\n1,"' + b"q" * 10**7 + b'"\n',
            "a few rows hold more than 8 MB of text: look",
        ),
        (b"a,b\n" + b"".join(b"%d x,w%d\n" % (i, i) for i in range(200_000)), "takes more than"),
    ],
    ids=["numbers", "a line", "a cell", "words"],
)
def test_a_table_that_exceeds_the_memory_limit_is_refused(
    text: bytes, says: str, tmp_path: Path
) -> None:
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(text, 1))
    with pytest.raises(DataError, match=says):
        read_table(str(tmp_path / "bomb.csv.gz"), limits=Limits(max_bytes=5_000_000))


def test_the_row_limit_is_inclusive(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,y\n" + "1,2\n" * 100)
    assert len(read_table(str(tmp_path / "t.csv"), limits=Limits(max_rows=100))) == 100
    with pytest.raises(DataError, match="more than 99 rows: raise --max-rows"):
        read_table(str(tmp_path / "t.csv"), limits=Limits(max_rows=99))

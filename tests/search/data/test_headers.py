"""Files without a header, and lines before it."""

from pathlib import Path

import pandas as pd
import pytest

from search.data.missing import NOTES
from search.data.table import read_table
from search.data.text_format import TextFormat
from search.errors import DataError

DATA = "name;size;price\nx;2;3.5\ny;3;4.5\n"


def read(folder: Path, text: str, *, header: bool = True, name: str = "t.csv") -> pd.DataFrame:
    (folder / name).write_text(text, encoding="utf-8")
    return read_table(str(folder / name), text=TextFormat(header=header))


@pytest.mark.parametrize(
    ("before", "skipped"),
    [
        ("sep=;\n", "'sep=;'"),
        ("\ufeffsep=;\n", "'sep=;'"),
        ("Houses 2024\n", "'Houses 2024'"),
        ("Houses 2024\n\n", "'Houses 2024'"),
        ("Houses, by region and year\n", "'Houses, by region and year'"),
        ("Houses\nfrom the land register\n", "'Houses', 'from the land register'"),
        ("# made by export\n", "'# made by export'"),
        ("# made by export\n# on Monday, 2024\n", "'# made by export', '# on Monday, 2024'"),
        ('"a title\nof two lines"\n', "'\"a title', 'of two lines\"'"),
    ],
)
@pytest.mark.parametrize("mark", [";", ",", "\t", "|"])
def test_lines_before_the_header_are_skipped_and_said(
    before: str, skipped: str, mark: str, tmp_path: Path
) -> None:
    table = read(tmp_path, (before + DATA).replace(";", mark))
    assert table.to_dict("list") == {"name": ["x", "y"], "size": [2, 3], "price": [3.5, 4.5]}
    said = skipped.replace(";", mark).replace("\t'", "'")
    assert f"lines before the table are skipped: {said}" in table.attrs[NOTES]


def test_skipped_lines_count_in_the_number_of_a_bad_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 6 has 4 fields, the lines before it 3"):
        read(tmp_path, "# a\n# b\n" + DATA + "z;1;2;3\n")


@pytest.mark.parametrize(
    "text",
    [
        DATA,
        "name|size\nx|2\n",
        "#id,size\n1,2\n3,4\n",
        "size\n2\n3\n",
        "size,price\nr1,2,3\nr2,4,5\n",
        "size\nr1,2\nr2,4\n",
        "name,kind\nr1,a,b\nr2,c,d\n",
        "id,a,y\nx,y,z,,\nu,v,w,,\n",
        "country,2019,2020,2021\nx,2019,5,7\n",
        "0,1,2,3\n5,6,7,8\n",
        ",0,1,2\n0,6,7,8\n",
    ],
)
def test_ordinary_headers_are_read_without_a_word(text: str, tmp_path: Path) -> None:
    table = read(tmp_path, text)
    assert table.attrs[NOTES] == ()
    names = [name.strip() for name in text.split("\n", 1)[0].replace("|", ",").split(",")]
    names = names[0].split(";") if ";" in names[0] else names
    found = [name for name in table.columns if name not in {"index", "level_0"}]
    assert found == [name or "Unnamed: 0" for name in names]


ROWS = [
    "5.1,3.5,setosa\n4.9,3.0,setosa\n6.0,3.1,virginica\n",
    "2024-01-01,7,yes\n2024-01-02,8,no\n2024-01-03,9,yes\n",
    "p,x,s\ne,x,y\np,b,s\n",
]


@pytest.mark.parametrize("rows", ROWS)
def test_names_that_look_like_values_are_pointed_out(rows: str, tmp_path: Path) -> None:
    (note,) = read(tmp_path, rows).attrs[NOTES]
    first = ", ".join(rows.split("\n", 1)[0].split(","))
    assert note == (
        f"the names of the columns look like values ({first}): if the file has no header, read it "
        "with --no-header"
    )


@pytest.mark.parametrize("rows", [*ROWS, "1,0,1\n0,1,1\n", "Flowers\n5.1,3.5,setosa\n4,3,x\n"])
def test_a_file_without_a_header_is_read(rows: str, tmp_path: Path) -> None:
    table = read(tmp_path, rows, header=False)
    lines = [line for line in rows.splitlines() if "," in line]
    assert list(table.columns) == ["x0", "x1", "x2"]
    assert [str(cell) for cell in table.iloc[0]] == lines[0].split(",")
    assert len(table) == len(lines)


def test_words_are_kept_in_columns_of_text_without_a_header(tmp_path: Path) -> None:
    table = read(tmp_path, "a,1\nNone,NA\nb,3\n", header=False)
    assert table["x0"].tolist() == ["a", "None", "b"]
    assert table["x1"].isna().tolist() == [False, True, False]


def test_names_that_repeat_are_refused_with_the_option(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="rename them, or add --no-header if the first line"):
        read(tmp_path, "1,0,1\n0,1,1\n")

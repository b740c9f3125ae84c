"""Cells that are missing, and words that look like it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from search.data.dataset import Dataset, load_dataset
from search.data.description import DataDescription
from search.data.missing import NOTES
from search.data.table import read_table

TABLE = """\
age,garage,built,lift,alley,code,about
12,None,2024-01-01,True,NA,-,a house
NA,attached,NA,False,NA,4,None
n/a,None,2024-03-01,NA,NA,5.5,null and void
15,,2024-03-01,True,NA,6,a house
"""


@pytest.fixture
def houses(tmp_path: Path) -> pd.DataFrame:
    (tmp_path / "houses.csv").write_text(TABLE)
    return read_table(str(tmp_path / "houses.csv"))


def test_words_are_missing_in_numbers_booleans_and_dates_and_kept_in_text(
    houses: pd.DataFrame,
) -> None:
    missing = {name: houses[name].isna().tolist() for name in houses}
    assert missing == {
        "age": [False, True, True, False],
        "garage": [False, False, False, True],
        "built": [False, True, False, False],
        "lift": [False, False, True, False],
        "alley": [True] * 4,
        "code": [True, False, False, False],
        "about": [False] * 4,
    }
    assert houses["garage"].tolist()[:3] == ["None", "attached", "None"]
    assert houses["about"].tolist()[1:3] == ["None", "null and void"]
    assert {houses[name].dtype.kind for name in ("age", "code")} == {"f"}


def test_what_was_read_as_missing_and_what_was_kept_is_said(houses: pd.DataFrame) -> None:
    assert houses.attrs[NOTES] == (
        "column 'age': 'NA' (1 row), 'n/a' (1 row) read as missing",
        "column 'garage': 'None' (2 rows) kept as text (--na None reads it as missing)",
        "column 'built': 'NA' (1 row) read as missing",
        "column 'lift': 'NA' (1 row) read as missing",
        "column 'alley': 'NA' (4 rows) read as missing",
        "column 'about': 'None' (1 row) kept as text (--na None reads it as missing)",
        "column 'code': '-' (1 row) read as missing",
    )


def test_a_table_with_empty_cells_only_has_no_notes(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,c\n1,,x\n,2,\n3,4,y-z\n")
    assert read_table(str(tmp_path / "t.csv")).attrs[NOTES] == ()


def test_at_most_ten_columns_are_named(tmp_path: Path) -> None:
    names = [f"c{k}" for k in range(14)]
    lines = [",".join(names), ",".join(["NA"] * 14), ",".join(["1"] * 14)]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    notes = read_table(str(tmp_path / "t.csv")).attrs[NOTES]
    assert len(notes) == 11
    assert notes[-1] == "4 more columns hold words such as NA"


def test_words_beside_row_labels_are_kept(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("size,kind\nr1,3,None\nr2,NA,b\nr3,5,c\n")
    found = read_table(str(tmp_path / "t.csv"))
    assert found["kind"].tolist() == ["None", "b", "c"]
    assert found["size"].isna().tolist() == [False, True, False]


def dataset(frame: pd.DataFrame, *words: str) -> Dataset:
    about = DataDescription(source="t", target="y", holdout=0.0, na=words)
    return load_dataset(about, table=frame)


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "heat": np.r_[np.full(5, -999), np.arange(25)],
            "size": ["unknown", *(str(k) for k in range(29))],
            "kind": ["unknown", "-999", *("ab"[k % 2] for k in range(28))],
            "y": np.arange(30) % 7 * 1.5,
        }
    )


def test_words_of_the_user_are_missing_in_every_column(frame: pd.DataFrame) -> None:
    found = dataset(frame, "unknown", "-999")
    missing = {name: int(found.features[name].isna().sum()) for name in found.features}
    assert missing == {"heat": 5, "size": 1, "kind": 2}
    assert found.features["size"].dtype == np.float64
    assert "--na unknown: 2 cells read as missing" in found.notes
    assert "--na -999: 6 cells read as missing" in found.notes
    assert (frame["heat"] == -999).sum() == 5


def test_a_word_that_the_table_does_not_have_is_said(frame: pd.DataFrame) -> None:
    assert "--na nothing: 0 cells read as missing" in dataset(frame, "nothing").notes


def test_rows_whose_class_is_such_a_word_are_kept_unless_the_user_says_that_it_is_missing(
    tmp_path: Path,
) -> None:
    lines = [f"{k},{('None', 'some', 'much')[k % 3]}" for k in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["a,y", *lines]))
    read = read_table(str(tmp_path / "t.csv"))
    assert dataset(read).class_counts == {"None": 20, "much": 20, "some": 20}
    left_out = dataset(read, "None")
    assert left_out.class_counts == {"much": 20, "some": 20}
    assert "20 of 60 rows have no 'y' and are left out" in left_out.notes

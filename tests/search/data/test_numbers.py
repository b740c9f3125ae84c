"""Numbers with marks: read if they have one meaning, and named if they are not read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made import make_dataset

from search.data.numbers import read_numbers, rewrite
from search.data.table import read_table
from search.errors import DataError

NUMBERS = [0.5, 1234.5, 12.25, 1234567.75, 999.0, -1500.25, 1e6]


def swap(text: str) -> str:
    return text.translate(str.maketrans(",.", ".,"))


SPELLINGS: dict[str, Callable[[float], str]] = {
    "commas": "{:,.2f}".format,
    "points": lambda x: swap(f"{x:,.2f}"),
    "decimal commas": lambda x: swap(f"{x:.2f}"),
    "spaces": lambda x: f"{x:,.2f}".replace(",", " "),
    "no-break spaces": lambda x: f"{x:,.2f}".replace(",", "\u202f"),
    "apostrophes": lambda x: f"{x:,.2f}".replace(",", "'"),
    "dollars": lambda x: f"-${-x:,.2f}" if x < 0 else f"${x:,.2f}",
    "some dollars": lambda x: f"US$ {x:,.2f}" if x > 1000 else f"{x:,.2f}",
    "euros": lambda x: swap(f"{x:,.2f} €"),
    "francs": lambda x: f"CHF {x:,.2f}".replace(",", "\u2019"),
    "percent": "{:.2f}%".format,
    "units": "{:,.2f} kg".format,
    "squares": "{:,.2f} m2".format,
    "units per unit": "{:.2f} €/m²".format,
    "parentheses": lambda x: f"({-x:,.2f})" if x < 0 else f"{x:,.2f}",
    "minus signs": lambda x: f"{x:,.2f}".replace("-", "\u2212"),
    "spaces around": " {:,.2f}  ".format,
    "no zeros": lambda x: f"{x:,.2f}".rstrip("0").rstrip("."),
}


def text(*values: str | None) -> pd.Series:
    return pd.Series(values, dtype="str")


def read(**columns: list[str] | pd.Series) -> tuple[pd.DataFrame, tuple[str, ...]]:
    table = pd.DataFrame(columns).astype("str")
    notes = read_numbers(table).notes
    return table, notes


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_numbers_with_marks_are_read_and_said(spelling: str) -> None:
    written = [SPELLINGS[spelling](number) for number in NUMBERS]
    table, notes = read(price=written)
    assert table["price"].tolist() == NUMBERS
    assert len(notes) == 1
    assert "column 'price': text such as '" in notes[0]
    assert "is read as a number (" in notes[0]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_rules_of_a_column_rewrite_its_text_and_leave_plain_numbers(spelling: str) -> None:
    table = pd.DataFrame({"a": text(*map(SPELLINGS[spelling], NUMBERS))})
    written, plain = table["a"], text("1234.5", "-3", "0.25", "1e5", None)
    rules = read_numbers(table).rules["a"]
    assert rewrite(written, rules).astype(float).tolist() == NUMBERS
    assert rewrite(plain, rules).tolist()[:4] == plain.tolist()[:4]


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        (["12,34,567", "5", "1,234"], [1234567, 5, 1234]),
        (["1.234.567", "1.234", "5"], [1234567, 1234, 5]),
        (["1,5e3", "2,25", "3"], [1500, 2.25, 3]),
        (["1.5M", "600K", "12k", "950"], [1.5e6, 6e5, 12e3, 950]),
        (["$1,234.5K", "$2 bn", "($3M)", "$0.5B"], [1234500, 2e9, -3e6, 5e8]),
        (["1,5M", "600K", "12,25M"], [1.5e6, 6e5, 12.25e6]),
        (["0,500", "1,234", "7,250"], [0.5, 1.234, 7.25]),
        ([" 36 months", " 60 months", " 36 months"], [36, 60, 36]),
    ],
)
def test_all_values_of_a_column_decide_what_a_mark_means(
    values: list[str], numbers: list[float]
) -> None:
    assert read(a=values)[0]["a"].tolist() == numbers


@pytest.mark.parametrize(
    "values",
    [
        ["A12", "A13", "A14"],
        ["1,2,3", "2,3", "4"],
        ["10.0.0.1", "10.0.0.2", "1.2.3.4"],
        ["01.02.2024", "12.02.2024", "30.11.2023"],
        ["2024-01-02", "2024-01-03", "2024-01-04"],
        ["5-6", "7-8", "9-10"],
        ["12:30", "13:45", "9:05"],
        ["030 123 456", "040 123 457", "089 123 458"],
        ["5 feet 4", "6 feet 1", "5 feet 11"],
    ],
)
def test_texts_that_are_not_numbers_stay_text_without_a_word(values: list[str]) -> None:
    table, notes = read(a=values)
    assert table["a"].tolist() == values
    assert notes == ()


@pytest.mark.parametrize("values", [["12B", "7", "14", "3"], ["5k", "7K", "12", "9 k"]])
def test_one_suffix_alone_does_not_multiply(values: list[str]) -> None:
    assert read(a=values)[0]["a"].tolist() == values


def test_numbers_without_marks_are_left_as_they_are() -> None:
    table, notes = read(a=["007", "12.500", "3.250"])
    assert table["a"].tolist() == ["007", "12.500", "3.250"]
    assert notes == ()


@pytest.mark.parametrize(
    ("values", "choices"),
    [
        (["1,234", "999", "12,500"], {",": 1234.0, ".": 1.234}),
        (["1.234", "$999", "12.500"], {".": 1234.0, ",": 1.234}),
    ],
)
def test_a_mark_with_two_meanings_is_asked_for(
    values: list[str], choices: dict[str, float]
) -> None:
    with pytest.raises(DataError, match=r"'a' holds numbers such as 1.234 \(row 1\), which may be"):
        read(a=values)
    for thousands, number in choices.items():
        table = pd.DataFrame({"a": text(*values)})
        read_numbers(table, thousands=thousands)
        assert table["a"][0] == number
        decimal = "," if thousands == "." else "."
        table = pd.DataFrame({"a": text(*values)})
        read_numbers(table, decimal=decimal)
        assert table["a"][0] == number


def test_other_columns_of_the_table_decide_what_a_mark_means() -> None:
    thousand = ["1,234", "999", "12,500"]
    assert read(a=thousand, b=["$1.5", "$2", "$3"])[0]["a"].tolist() == [1234, 999, 12500]
    assert read(a=thousand, b=["1,5", "2", "3"])[0]["a"].tolist() == [1.234, 999, 12.5]
    with pytest.raises(DataError, match="which may be"):
        read(a=thousand, b=["1,5", "2", "3"], c=["$1.5", "$2", "$3"])


def test_columns_with_other_roles_are_not_read() -> None:
    table = pd.DataFrame({"a": text("1,234", "5"), "b": text("7 kg", "8 kg")})
    assert read_numbers(table, skip=["a", "b"]).rules == {}
    assert table["a"].tolist() == ["1,234", "5"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            [*map(str, range(40)), "see note", "9", "n.m."],
            "2 of 43 values are not numbers such as 0, the first is 'see note' in row 41; the "
            "column is read as text (if such cells are missing, add --na 'see note')",
        ),
        (
            [*(f"${k}.50" for k in range(20)), "€7"],
            "1 of 21 values is not a number such as $0.50: '€7' in row 21",
        ),
        (
            ["5 km", "300 m", "7 km", "2 km"],
            "1 of 4 values is not a number such as 5 km: '300 m' in row 2",
        ),
        (["12%", "0.5", "7%", "8%"], "not a number such as 12%: '0.5' in row 2"),
        (["1,234.5", "2,5", "3,000", "4.5", "6"], "not a number such as 1,234.5: '2,5' in row 2"),
    ],
)
def test_a_few_cells_that_are_not_numbers_are_named(values: list[str], says: str) -> None:
    table, notes = read(a=values)
    assert table["a"].tolist() == values
    assert len(notes) == 1
    assert f"column 'a': {says}" in notes[0] or says in notes[0]


def test_at_most_ten_columns_are_named() -> None:
    _, notes = read(**{f"c{k}": ["1,234,567", "5"] for k in range(14)})
    assert len(notes) == 11
    assert notes[-1].startswith("4 more columns hold numbers with marks")


def test_cells_of_spaces_are_missing_in_columns_of_numbers() -> None:
    table, notes = read(a=["5.5", " ", "7", "  "], b=["$5", " ", "$1,200.50", "$7"])
    assert table["a"].isna().tolist() == [False, True, False, True]
    assert table["b"].tolist()[2:] == [1200.5, 7]
    assert notes[0] == "column 'a': cells of spaces (2 rows) are read as missing"
    assert notes[1].endswith("is read as a number (5); cells of spaces (1 row) are read as missing")


def test_numbers_and_texts_in_a_column_of_objects_are_read() -> None:
    table = pd.DataFrame({"a": [1.5, "$2,000.50", None, 3], "b": [True, "5%", 3.0, None]})
    read_numbers(table)
    assert table["a"].tolist()[:2] == [1.5, 2000.5]
    assert table["b"].tolist()[:2] == [True, "5%"]


GERMAN = """\
preis;menge;gewicht;datum;y
1.234,50;2.500;7,5;01.02.2024;1,5
7,25;12.000;3,25;13.02.2024;2
-;NA;1;14.02.2024;0,25
"""


@pytest.mark.parametrize("end", ["", "12;5;x;15.02.2024;1\n" * 3])
def test_points_separate_thousands_in_a_file_with_decimal_commas(tmp_path: Path, end: str) -> None:
    (tmp_path / "t.csv").write_text(GERMAN + end)
    table = read_table(str(tmp_path / "t.csv"))
    numbers = read_numbers(table)
    notes = (*table.attrs["notes"], *numbers.notes)
    for name, cell, number in (("gewicht", "7,5", 7.5), ("menge", "2.500", 2500)):
        if name in numbers.rules:  # not if other cells made it a column of text
            assert float(rewrite(text(cell), numbers.rules[name])[0]) == number
    assert {"preis", "menge", "y"} <= set(numbers.rules)
    assert table["preis"].tolist()[:2] == [1234.5, 7.25]
    assert table["menge"].tolist()[:2] == [2500, 12000]
    assert table["y"].tolist()[:3] == [1.5, 2, 0.25]
    assert table["preis"].isna()[2]
    assert table["menge"].isna()[2]
    assert table["datum"][0] == "01.02.2024"
    assert "column 'menge': 'NA' (1 row) read as missing" in notes
    assert (
        "numbers are read with decimal commas (choose another decimal mark with --decimal)" in notes
    )
    assert "column 'menge': text such as '2.500' is read as a number (2500)" in notes


def test_numbers_with_points_in_a_file_with_decimal_commas_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a;b\n1,5;2.25\n7,25;3.5\n")
    table = read_table(str(tmp_path / "t.csv"))
    notes = read_numbers(table).notes
    assert table.to_dict("list") == {"a": [1.5, 7.25], "b": [2.25, 3.5]}
    assert notes == ("column 'b': its numbers have decimal points",)


def test_decimal_points_of_a_file_decide_what_its_commas_mean(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,b\n"1,234",0.5\n999,1.25\n"12,500",3\n')
    table = read_table(str(tmp_path / "t.csv"))
    read_numbers(table)
    assert table["a"].tolist() == [1234, 999, 12500]


def marked_rows() -> pd.DataFrame:
    size = np.arange(60) * 37.5
    return pd.DataFrame(
        {
            "size": [f"{x:,.2f} m²" for x in size],
            "rooms": [f"{k % 7}" if k != 20 else "many" for k in range(60)],
            "price": [f"${x:,.2f}" for x in size * 1000 + 5],
        }
    )


def test_marks_of_features_and_target_are_read_when_a_table_is_loaded() -> None:
    found = make_dataset("t", "price", table=marked_rows())
    assert found.task == "regression"
    assert found.y[1] == 37505
    assert found.features["size"].dtype == np.float64
    assert set(found.rewritten) == {"size"}
    assert any("'size': text such as '0.00 m²'" in note for note in found.notes)
    assert any("'many' in row 21" in note for note in found.notes)


@pytest.mark.parametrize("task", [None, "regression"])
def test_a_target_with_a_few_bad_cells_is_refused_with_the_first_of_them(task: str | None) -> None:
    rows = marked_rows()
    rows.loc[0, "price"] = None
    rows.loc[[9, 30], "price"] = ["see below", "$5.00 (estimated)"]
    with pytest.raises(DataError) as error:
        make_dataset("t", "price", task, table=rows)  # type: ignore[arg-type]
    assert "2 of 59 values are not numbers such as $37,505.00" in str(error.value)
    assert "the first is 'see below' in row 10" in str(error.value)
    assert make_dataset("t", "price", table=rows, na=["see below", "$5.00 (estimated)"])


def test_a_few_numbers_and_words_in_a_target_are_classes() -> None:
    rows = marked_rows().assign(price=[["1", "2", "3", "4", "5+", "5"][k % 6] for k in range(60)])
    found = make_dataset("t", "price", table=rows)
    assert found.classes is not None
    assert found.classes.tolist() == ["1", "2", "3", "4", "5", "5+"]

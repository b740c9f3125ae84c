"""The order of day and month in dates of text."""

import numpy as np
import pandas as pd
import pytest
from made import make_dataset

from search.data.dates import read_dates, rewritten
from search.errors import DataError
from search.types import DateOrder

UNCLEAR = ["02/06/2024", "03/06/2024", None, "11/12/2023"]
DAY_FIRST = ["2024-06-02", "2024-06-03", None, "2023-12-11"]
MONTH_FIRST = ["2024-02-06", "2024-03-06", None, "2023-11-12"]


def read(asked: DateOrder | None = None, **columns: list[str | None]) -> tuple[pd.DataFrame, str]:
    table = pd.DataFrame(columns).astype("str")
    return table, "; ".join(read_dates(table, (), asked)[1])


def texts(column: pd.Series) -> list[str | None]:
    return [None if pd.isna(text) else text for text in column]


def test_dates_that_do_not_show_the_order_are_said() -> None:
    table, note = read(sold=UNCLEAR)
    assert texts(table["sold"]) == UNCLEAR  # the encoder reads them month first
    assert note == (
        "column 'sold': dates such as 02/06/2024 are read month first, because none shows the "
        "order of day and month (--dates day-first reads them day first)"
    )


@pytest.mark.parametrize(
    ("asked", "dates"), [("day-first", DAY_FIRST), ("month-first", MONTH_FIRST)]
)
def test_the_user_chooses_the_order(asked: DateOrder, dates: list[str | None]) -> None:
    table, note = read(asked, sold=UNCLEAR)
    assert texts(table["sold"]) == dates
    assert note.endswith(f"are read {asked.replace('-', ' ')}, with --dates")


@pytest.mark.parametrize("mark", ["/", "-", "."])
def test_other_columns_show_the_order(mark: str) -> None:
    unclear = [date and date.replace("/", mark) for date in UNCLEAR]
    table, note = read(sold=unclear, built=["30/11/1990", "01/02/1991", "03/04/1992", None])
    assert texts(table["sold"]) == DAY_FIRST
    assert "are read day first, as" in note
    assert table["built"][0] == "30/11/1990"
    assert "'built'" not in note


def test_dates_with_points_are_read_day_first() -> None:
    table, note = read(sold=["2.6.2024", "03.06.24", "11.12.98 10:30"])
    assert texts(table["sold"]) == ["2024-06-02", "2024-06-03", "1998-12-11 10:30"]
    assert note == (
        "column 'sold': dates such as 2.6.2024 are read day first, as dates with points usually are"
    )


@pytest.mark.parametrize(
    "values",
    [
        ["13/02/2024", "01/02/2024"],
        ["02/13/2024", "01/02/2024"],
        ["02/13/2024", "13/02/2024"],
        ["2024-02-03", "2024-03-02"],
        ["02/06/2024", "soon"],
        ["02/06/2024", "02-06-2024"],
        ["10/11", "9/12"],
        ["99/02/03", "98/02/03"],
        ["1.2.3.4", "1.2.3.5"],
    ],
)
def test_other_columns_are_left_as_they_are(values: list[str | None]) -> None:
    table, note = read("day-first", a=values)
    assert table["a"].tolist() == values
    assert note == ""


def test_the_rules_leave_dates_that_need_no_change() -> None:
    table = pd.DataFrame({"sold": UNCLEAR}).astype("str")
    rules = read_dates(table, asked="day-first")[0]["sold"]
    plain = pd.Series(["2024-06-02", "2024-06-02T10:30:00", "1717286400"], dtype="str")
    assert rewritten(plain, rules).tolist() == plain.tolist()


def test_at_most_ten_columns_are_named() -> None:
    _, note = read(**{f"c{k}": UNCLEAR for k in range(12)})
    assert note.endswith("2 more columns hold dates that do not show the order of day and month")


def sales(**fields: object) -> pd.DataFrame:
    days = pd.date_range("2024-01-01", periods=12).repeat(5)
    return pd.DataFrame(
        {"sold": days.strftime("01/%d/%Y"), "size": np.arange(60), "price": np.arange(60) * 0.5}
    ).assign(**fields)


def test_features_are_encoded_in_the_order_that_is_said() -> None:
    months = {}
    for asked in (None, "day-first"):
        found = make_dataset("t", "price", table=sales(), dates=asked)
        months[asked] = set(found.X["sold_month"]) if "sold_month" in found.X else {1.0}
        assert any("column 'sold': dates such as 01/01/2024" in note for note in found.notes)
        assert set(found.rewritten) == ({"sold"} if asked else set())
    assert months == {None: {1.0}, "day-first": set(np.arange(1.0, 13.0))}


def test_the_order_of_the_time_column_is_asked_for_or_given() -> None:
    table = sales(sold=[f"{k % 12 + 1}/{k // 12 + 1}/2024" for k in range(60)])
    with pytest.raises(DataError, match="which comes first by --dates day-first"):
        make_dataset("t", "price", table=table, time="sold")
    times = {}
    for asked in ("day-first", "month-first"):
        found = make_dataset("t", "price", table=table, time="sold", dates=asked)
        times[asked] = np.asarray(found.roles.times).tolist()
    assert times["day-first"] == list(range(60))
    assert times["month-first"][:3] == [0, 5, 10]

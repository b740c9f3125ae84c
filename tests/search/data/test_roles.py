from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from search.data.description import DataDescription
from search.data.roles import Roles, read_roles
from search.errors import DataError, UsageError

TABLE = pd.DataFrame(
    {
        "customer": ["b", "a", "b", "c"],
        "day": ["2024-03-01", "2023-12-31", "2024-03-01", "2024-01-15"],
        "share": [0.5, 0.0, 2.0, 1.5],
        "price": [1.0, 2.0, 3.0, 4.0],
    }
)


def described(target: str = "price", **roles: Any) -> DataDescription:
    return DataDescription(source="table.csv", target=target, holdout=0.2, **roles)


def read(values: list[Any], role: str, name: str = "it") -> Any:
    table = TABLE.assign(**{name: values})
    return read_roles(table, described(**{role: name}))


def test_columns_become_weights_group_codes_and_time_ranks() -> None:
    roles = read_roles(TABLE, described(weight="share", group="customer", time="day"))
    assert roles.weights is not None
    assert roles.groups is not None
    assert roles.times is not None
    assert roles.weights.tolist() == [0.5, 0.0, 2.0, 1.5]
    assert roles.groups.tolist() == [1, 0, 1, 2]
    assert roles.times.tolist() == [2, 0, 2, 1]


def test_a_role_without_a_column_is_none() -> None:
    assert read_roles(TABLE, described()) == Roles(None, None, None)


def test_selected_rows_have_codes_without_gaps_in_the_same_order() -> None:
    roles = read_roles(TABLE, described(weight="share", group="customer", time="day"))
    some = roles.select(np.array([True, False, True, True]))
    assert some.weights is not None
    assert some.groups is not None
    assert some.times is not None
    assert some.weights.tolist() == [0.5, 2.0, 1.5]
    assert some.groups.tolist() == [0, 0, 1]
    assert some.times.tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    "values",
    [
        [3, 1, 3, 2],
        [2.5, -1.0, 2.5, 0.0],
        [Decimal("2.5"), Decimal(-1), Decimal("2.5"), Decimal(0)],
        ["2024-01-03", "2023-01-01", "2024-01-03", "2024-01-01T10:00"],
        ["2024-01-03T01:00+03:00", "2023-01-01", "2024-01-02T22:00Z", "2024-01-01"],
        [date(2024, 3, 1), date(1999, 1, 1), date(2024, 3, 1), date(2000, 1, 1)],
        list(pd.to_datetime(["2024-03-01", "1999-01-01", "2024-03-01", "2000-01-01"])),
        ["3000-01-01", "1500-01-01", "3000-01-01", "1600-01-01"],
    ],
    ids=["whole", "numbers", "decimals", "texts", "zones", "dates", "timestamps", "far"],
)
def test_times_are_numbers_dates_or_dates_as_text(values: list[Any]) -> None:
    assert read(values, "time").times.tolist() == [2, 0, 2, 1]


@pytest.mark.parametrize(
    "values",
    [
        ["10/02/2023", "13/01/2023", "10/02/2023", "01/02/2023"],
        ["02/10/2023", "01/13/2023", "02/10/2023", "02/01/2023"],
        ["10.02.2023", "13.01.2023", "10.02.2023", "01.02.2023"],
        ["10 Feb 2023", "13 Jan 2023", "10 Feb 2023", "1 Feb 2023"],
    ],
    ids=["day first", "month first", "dots", "names"],
)
def test_all_dates_of_a_column_are_parsed_in_one_format(values: list[str]) -> None:
    assert read(values, "time").times.tolist() == [2, 0, 2, 1]


def test_dates_with_ambiguous_days_and_months_are_refused() -> None:
    with pytest.raises(DataError, match=r"such as 10/02/2023, .* by --dates day-first"):
        read(["10/02/2023", "01/03/2023", "02/11/2023", "12/12/2023"], "time")
    assert read(["01/01/2023", "02/02/2023", "03/03/2023", "04/04/2023"], "time") is not None


def test_weights_may_be_decimals_or_numbers_as_text() -> None:
    for values in ([Decimal("0.5"), Decimal(0), 2, 1], ["0.5", "0", "2", "1"]):
        assert read(values, "weight").weights.tolist() == [0.5, 0.0, 2.0, 1.0]


def test_a_mistyped_column_is_reported_with_a_suggestion_and_the_columns() -> None:
    with pytest.raises(UsageError) as error:
        read_roles(TABLE, described(group="custmer"))
    assert "--group 'custmer' is not a column of the table (did you mean 'customer'?)" in str(
        error.value
    )
    assert "its columns are customer, day, share, price" in str(error.value)


@pytest.mark.parametrize("role", ["drop", "categorical"])
def test_a_mistyped_column_in_a_list_is_reported_with_a_suggestion(role: str) -> None:
    with pytest.raises(UsageError, match=rf"--{role} 'dya' is not .*did you mean 'day'"):
        read_roles(TABLE, described(**{role: ("customer", "dya")}))


@pytest.mark.parametrize(
    "values",
    [
        [3, 1, 3, 2],
        [3.0, None, 3.0, -2.0],
        pd.array([3, None, 3, 2], dtype="Int64"),
        [Decimal(3), None, Decimal(3), Decimal(-2)],
        ["b", "a", None, "b"],
        [True, False, None, True],
        [None, None, None, None],
    ],
    ids=["whole", "missing", "nullable", "decimals", "texts", "booleans", "empty"],
)
def test_categories_are_whole_numbers_texts_or_missing(values: list[Any]) -> None:
    read_roles(TABLE.assign(it=values), described(categorical=("it",)))


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([1.0, 2.5, None, 3.0], "2.5"),
        ([1.0, np.inf, 2.0, 3.0], "inf"),
        ([Decimal(1), Decimal("0.5"), None, Decimal(2)], "0.5"),
        (list(pd.to_datetime(["2024-03-01"] * 4)), "dates"),
    ],
    ids=["fraction", "infinite", "decimal", "dates"],
)
def test_measurements_and_dates_are_not_categories(values: list[Any], found: str) -> None:
    with pytest.raises(
        DataError,
        match=rf"^--categorical 'it' holds {found}: categories are whole numbers or texts$",
    ):
        read_roles(TABLE.assign(it=values), described(categorical=("it",)))


def test_only_the_first_columns_of_a_wide_table_are_listed() -> None:
    wide = pd.DataFrame(np.zeros((2, 50)), columns=[f"c{k}" for k in range(50)])
    with pytest.raises(UsageError, match=r"c28, c29, …$"):
        read_roles(wide, described("c0", time="zzz"))


@pytest.mark.parametrize(
    ("description", "says"),
    [
        (
            described(weight="share", time="share"),
            "--time 'share' already has another role, --weight: give the column only one of them",
        ),
        (described(group="day", time="day"), "--time 'day' already has another role, --group"),
        (described(group="price"), "--group 'price' is the target"),
        (described(drop=("price",)), "--drop 'price' is the target"),
        (described(categorical=("price",)), "--categorical 'price' is the target"),
        (described(weight="share", drop=("share",)), "--drop 'share' already has .*, --weight"),
        (described(group="day", drop=("day",)), "--drop 'day' already has .*, --group"),
        (described(time="day", drop=("day",)), "--drop 'day' already has .*, --time"),
        (described(time="day", categorical=("day",)), "--categorical 'day' already has .*, --time"),
        (
            described(drop=("customer", "day"), categorical=("day",)),
            "--categorical 'day' already has another role, --drop",
        ),
    ],
)
def test_a_column_with_two_roles_is_refused(description: DataDescription, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read_roles(TABLE, description)


@pytest.mark.parametrize(
    ("role", "values", "says"),
    [
        (
            "weight",
            [1, 2, -0.5, 1],
            "--weight 'it' holds -0.5 in row 3: weights are numbers from 0 up",
        ),
        ("weight", ["1", "heavy", "2", "3"], "--weight 'it' holds heavy"),
        ("weight", [1.0, np.inf, 2.0, 3.0], "--weight 'it' holds inf"),
        ("weight", [0, 0, 0, 0], "--weight 'it' is 0 in every row"),
        ("weight", [1.0, None, 2.0, 3.0], "--weight 'it' is missing in 1 rows: fill it in"),
        ("group", ["a", None, None, "b"], "--group 'it' is missing in 2 rows: fill it in"),
        ("time", ["2024-01-01", None, "2024-01-01", "2"], "--time 'it' is missing in 1 rows"),
        ("time", ["2024-01-01", "soon", "2024-01-02", "2024"], "neither numbers nor dates"),
    ],
)
def test_values_that_do_not_fit_the_role_are_refused_in_one_line(
    role: str, values: list[Any], says: str
) -> None:
    with pytest.raises(DataError) as error:
        read(values, role)
    assert says in str(error.value)
    assert "\n" not in str(error.value)

"""Hints on columns: what is pointed out, and that measurements and prose are not."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from made import make_dataset

from search.data.hints import column_hints

ROWS = 400
RANDOM = np.random.default_rng(0)
NOISE = RANDOM.normal(size=ROWS)
Y = RANDOM.normal(size=ROWS)
DAYS = pd.date_range("2024-01-01", periods=ROWS)


def hints(values: Any, y: Any = Y, name: str = "it", **roles: Any) -> tuple[str, ...]:
    """Return the hints on a table with the column `name`."""
    table = pd.DataFrame({"size": NOISE[: len(y)], name: values, "y": y})
    return column_hints(make_dataset("frame", "y", table=table, **roles))


IDENTIFIERS = {
    "numbers": np.arange(ROWS),
    "shuffled": RANDOM.permutation(ROWS) + 10_000,
    "gaps": np.sort(RANDOM.choice(10 * ROWS, ROWS, replace=False)),
    "nullable": pd.array([None, *range(1, ROWS)], dtype="Int64"),
    "large": np.arange(ROWS, dtype=np.uint64) + np.uint64(2**63),
    "codes": [f"A-{number}" for number in range(ROWS)],
    "addresses": [f"person{number}@example.org" for number in range(ROWS)],
    "hashes": [f"{number:032x}" for number in (RANDOM.permutation(ROWS) + 10**15).tolist()],
    "names": [f"Ann van Houses{number}" for number in range(ROWS)],
    "missing": [None, *(f"k{number}" for number in range(ROWS - 1))],
}


@pytest.mark.parametrize("kind", IDENTIFIERS)
def test_a_distinct_integer_or_short_text_in_every_row_is_an_identifier(kind: str) -> None:
    (hint,) = hints(IDENTIFIERS[kind])
    assert hint == (
        "column 'it' has a distinct value in every row, as identifiers have, from which new rows "
        "cannot be predicted: leave it out with --drop it"
    )
    assert hints(IDENTIFIERS[kind], drop=("it",)) == ()


@pytest.mark.parametrize(
    ("name", "is_identifier"),
    [("id", True), ("customer_id", True), ("customerId", True), ("paid", False), ("acid", False)],
)
def test_widely_spread_integers_are_an_identifier_only_by_name(
    name: str, is_identifier: bool
) -> None:
    values = RANDOM.choice(10**12, ROWS, replace=False)
    assert bool(hints(values, name=name)) == is_identifier


NO_IDENTIFIERS = {
    "floats": RANDOM.normal(size=ROWS),
    "whole floats": np.arange(ROWS) * 1.0,
    "wide integers": RANDOM.choice(10**9, ROWS, replace=False),
    "repeated integers": [0, *range(ROWS - 1)],
    "repeated texts": ["k0", *(f"k{number}" for number in range(ROWS - 1))],
    "prose": [f"a house with {number} rooms and a garden" for number in range(ROWS)],
    "dates": DAYS,
    "dates as text": DAYS.strftime("%Y-%m-%d"),
    "times as text": DAYS.strftime("%d.%m.%Y %H:%M"),
    "numbers as text": [f"{value:.7f}" for value in RANDOM.normal(size=ROWS - 1)] + ["unknown"],
    "categories": RANDOM.integers(0, 9, ROWS),
    "booleans": RANDOM.random(ROWS) > 0.5,
}


@pytest.mark.parametrize("kind", NO_IDENTIFIERS)
def test_measurements_dates_and_prose_are_not_pointed_out(kind: str) -> None:
    assert hints(NO_IDENTIFIERS[kind]) == ()


def test_the_column_of_times_is_no_identifier() -> None:
    assert hints(np.arange(ROWS), time="it") == ()


@pytest.mark.parametrize("value", [1, 2.5, "a", None, pd.Timestamp("2024-01-01")])
def test_a_constant_column_is_pointed_out(value: object) -> None:
    (hint,) = hints([value] * ROWS)
    assert hint == "column 'it' has the same value in every row: leave it out with --drop it"


def test_a_column_that_varies_in_later_rows_only_is_not_constant() -> None:
    n = 5000
    table = pd.DataFrame({"it": np.arange(n) > n - 9, "y": RANDOM.normal(size=n)})
    assert column_hints(make_dataset("frame", "y", table=table)) == ()


CLASSES = np.where(Y > 0.3, "yes", "no")
REVEALING = {
    "rescaled": (3 * Y + 1, Y),
    "another order": (-np.exp(Y), Y),
    "slightly noisy": (Y + 0.01 * NOISE, Y),
    "not monotonic": (Y, np.abs(Y)),
    "its class": (np.where(CLASSES == "yes", 7, 3), CLASSES),
    "its class as text": (np.where(CLASSES == "yes", "sold", "kept"), CLASSES),
    "a threshold": (Y, CLASSES),
    "missing values": (np.where(CLASSES == "yes", NOISE, np.nan), CLASSES),
    "nullable": (pd.array(np.where(CLASSES == "yes", 1, None), dtype="Int64"), CLASSES),
    "integers of three classes": (np.arange(ROWS) % 3, np.array(list("abc"))[np.arange(ROWS) % 3]),
}


@pytest.mark.parametrize("kind", REVEALING)
def test_a_column_that_alone_predicts_the_target_is_pointed_out(kind: str) -> None:
    values, y = REVEALING[kind]
    found = [hint for hint in hints(values, y) if "'it'" in hint]
    assert found == [
        "column 'it' alone predicts 'y' almost perfectly: if it is not known before 'y', leave it "
        "out with --drop it"
    ]


PATIENTS = np.arange(ROWS) // 8
NOT_REVEALING = {
    "a strong predictor": (Y + 0.2 * NOISE, Y, {}),
    "a strong predictor of a class": (Y + 0.1 * NOISE, CLASSES, {}),
    "a rare class": (NOISE, np.where(np.sort(Y)[-5] < Y, "rare", "usual"), {}),
    "categories with many values": (RANDOM.integers(0, 100, ROWS), Y, {"categorical": ("it",)}),
    "sorted texts": ([f"the note of house {k}" for k in range(ROWS)], np.sort(Y), {}),
    "dates": (DAYS, np.cumsum(Y), {}),
    "a value of each group": (NOISE[PATIENTS], Y[PATIENTS], {"group": "patient"}),
    "a value of each time": (NOISE[PATIENTS], Y[PATIENTS], {"time": "patient"}),
}


@pytest.mark.parametrize("kind", NOT_REVEALING)
def test_strong_predictors_groups_and_times_are_not_pointed_out(kind: str) -> None:
    values, y, roles = NOT_REVEALING[kind]
    table = pd.DataFrame({"patient": PATIENTS, "it": values, "y": y})
    found = column_hints(make_dataset("frame", "y", table=table, **roles))
    assert not any("'it'" in hint for hint in found)


def test_repeated_rows_are_not_predicted_from_each_other() -> None:
    rows = np.arange(ROWS) % 40
    table = pd.DataFrame({"size": NOISE[rows], "age": RANDOM.normal(size=ROWS)[rows], "y": Y[rows]})
    assert column_hints(make_dataset("frame", "y", table=table)) == ()


def test_small_tables_get_no_hints() -> None:
    assert hints(np.arange(99), Y[:99]) == ()
    assert len(hints(np.arange(100), Y[:100])) == 1


def test_names_are_quoted_for_the_shell_and_many_hints_are_counted() -> None:
    (hint,) = hints(np.ones(ROWS), name="it's 1")
    assert hint.endswith("""--drop 'it'"'"'s 1'""")
    table = pd.DataFrame({f"c{number}": np.ones(ROWS) for number in range(15)} | {"y": Y})
    table.insert(0, "size", NOISE)
    found = column_hints(make_dataset("frame", "y", table=table))
    assert len(found) == 11
    assert found[-1] == "5 more columns are constant, identifiers, or reveal the target"


def test_the_diabetes_data_gets_no_hints() -> None:
    assert column_hints(make_dataset("diabetes", holdout=0.2)) == ()

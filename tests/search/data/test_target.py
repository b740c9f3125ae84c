import numpy as np
import pandas as pd
import pytest

from search.data.target import (
    choose_positive,
    detect_task,
    encode_target,
    infer_target_type,
    list_classes,
    similar_classes,
)
from search.errors import DataError, UsageError
from search.types import Task


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b", "a"], "classification"),
        ([True, False, True], "classification"),
        ([0, 1, 1, 0], "classification"),
        ([1.0, 2.0, 1.0, 2.0], "classification"),
        ([0.5, 1.5, 0.5], "classification"),
        (list(range(10)) * 3, "classification"),
        (list(range(11)) * 3, "regression"),
        ([0.1, 0.2, 0.3, 0.1], "regression"),
        ([1, 2, 3], "regression"),
    ],
)
def test_the_task_is_detected_from_the_target(values: list[object], task: str) -> None:
    assert detect_task(pd.Series(values)) == task


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([1, 0, 1, 0], [0, 1]),
        ([1.0, 0.0, 1.0, 0.0], [0, 1]),
        ([0.5, -0.5, 0.5, -0.5], ["-0.5", "0.5"]),
        ([True, False, True, False], [False, True]),
        (["yes", "no", "yes", "no"], ["no", "yes"]),
        ([2**60 + 1, 2**60, 2**60 + 1, 2**60], [2**60, 2**60 + 1]),
        ([5.0, 1e19, 5.0, 1e19], ["1e+19", "5.0"]),
    ],
)
def test_classes_are_sorted_and_rows_hold_their_indices(
    values: list[object], classes: list[object]
) -> None:
    y, found = encode_target(pd.Series(values, name="y"), "classification")
    assert found is not None
    assert found.tolist() == classes
    assert type(found.tolist()[0]) is type(classes[0])
    assert y.tolist() == [1, 0, 1, 0]
    assert y.dtype == np.int64


def test_values_of_a_regression_are_floats() -> None:
    for values in ([1, 2, 4], [True, False, True], [0.5, 1.5, 2.5]):
        y, classes = encode_target(pd.Series(values, name="y"), "regression")
        assert classes is None
        assert y.dtype == np.float64
        assert y.tolist() == [float(value) for value in values]


def test_a_target_has_the_type_of_its_values() -> None:
    from decimal import Decimal

    holes = pd.Series([1, 2, None], dtype=object)[:2]
    assert infer_target_type(holes).dtype == np.int64
    assert infer_target_type(pd.Series([Decimal("0.5"), Decimal(1)])).tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("values", "task", "error", "says"),
    [
        ([3, 3, 3], "regression", DataError, "is 3 in all 3 rows that have one"),
        (
            ["a", "b"] * 2,
            "regression",
            UsageError,
            "'y' is not a number in 4 of 4 rows, the first is 'a' in row 1",
        ),
        (
            [1.0, np.inf, -np.inf],
            "regression",
            DataError,
            "'y' has 2 infinite values, the first in row 2",
        ),
        (list("abcd"), "classification", DataError, "has 4 classes in 4 rows"),
    ],
)
def test_a_target_that_cannot_be_learned_is_refused_in_one_line(
    values: list[object], task: Task, error: type[Exception], says: str
) -> None:
    with pytest.raises(error) as raised:
        encode_target(pd.Series(values, name="y"), task)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("counts", "asked", "positive"),
    [
        ({"left": 5, "stayed": 95}, None, "left"),
        ({"left": 95, "stayed": 5}, None, "stayed"),
        ({"left": 50, "stayed": 50}, None, "stayed"),
        ({"left": 5, "stayed": 95}, "stayed", "stayed"),
        ({"a": 1, "b": 2, "c": 3}, None, None),
        ({}, None, None),
    ],
)
def test_the_rarer_of_two_classes_is_positive_unless_another_is_asked_for(
    counts: dict[str, int], asked: str | None, positive: str | None
) -> None:
    assert choose_positive("y", counts, sorted(counts), asked) == positive


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ({"no": 5, "yes": 9}, "'maybe' is not a class of 'y': choose 'no' or 'yes'"),
        ({"a": 1, "b": 2, "c": 3}, "but 'y' has 3 classes: omit it"),
        ({}, "but 'y' has numbers (a regression): omit it"),
    ],
)
def test_a_positive_class_that_cannot_be_is_refused(counts: dict[str, int], says: str) -> None:
    with pytest.raises(UsageError) as raised:
        choose_positive("y", counts, sorted(counts), "maybe")
    assert says in str(raised.value)


def test_classes_are_listed_with_their_rows() -> None:
    assert list_classes({"no": 9500, "yes": 500}, "yes") == (
        "no (9,500 rows), yes (500 rows, positive)"
    )
    many = list_classes({f"{k:0>60}": 3 for k in range(1200)}, None)
    assert many.endswith("…(3 rows), and 1,190 more".replace("…(", "… ("))
    assert len(many) < 1000


def test_classes_that_differ_only_in_case_and_spaces_are_pointed_out() -> None:
    counts = {"Yes": 5, "no": 3, "yes ": 2, "YES": 1, "n o t": 1}
    (text,) = similar_classes(counts)
    assert text.startswith("the classes 'Yes', 'yes ' and 'YES' differ only in case and spaces")

"""Studies on tables in memory: frames and arrays."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from shop import table

from search import StudySpec
from search.data.frames import to_pandas
from search.data.table import read_table
from search.errors import DataError, UsageError
from search.study.problem import load_problem

HOUSES = table(200)
TWICE = pd.DataFrame([[1, 2]], columns=[1, "1"])


@pytest.mark.parametrize("given", [HOUSES, pl.from_pandas(HOUSES)], ids=["pandas", "polars"])
def test_a_frame_and_its_file_give_the_same_dataset(given: Any, tmp_path: Path) -> None:
    HOUSES.to_parquet(tmp_path / "houses.parquet")
    here = load_problem(StudySpec(data=given, target="price"))
    there = load_problem(StudySpec(data=tmp_path / "houses.parquet", target="price"))
    assert here.dataset.description.digest == there.dataset.description.digest
    assert (here.spec.study, there.spec.study) == ("frame", "houses")


def test_columns_of_an_array_are_numbered_and_the_last_is_the_target() -> None:
    problem = load_problem(StudySpec(data=np.random.default_rng(0).normal(size=(100, 3))))
    assert problem.dataset.description.target == "x2"
    assert list(problem.dataset.features.columns) == ["x0", "x1"]


def test_the_index_is_ignored_and_the_frame_is_not_modified() -> None:
    chosen = HOUSES[HOUSES["size"] > -1].set_index(HOUSES.index[HOUSES["size"] > -1] + 7)
    before = chosen.copy()
    assert list(to_pandas(chosen).columns) == list(HOUSES.columns)
    load_problem(StudySpec(data=chosen, target="price"))
    pd.testing.assert_frame_equal(chosen, before)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([1, 2], UsageError, "data of type list is not a table: give a path"),
        (np.zeros(3), UsageError, "an array of shape (3,) is not a table"),
        (pd.DataFrame({"a": []}), DataError, "the table has no rows (1 columns)"),
        (
            pd.DataFrame([[1, 2]], columns=[1, "1"]),
            DataError,
            "two columns of the table are called '1'",
        ),
    ],
)
def test_other_types_are_refused(given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message.replace("(", r"\(").replace(")", r"\)")):
        StudySpec(data=given)


def test_sparse_columns_become_dense() -> None:
    sparse = HOUSES.assign(garden=pd.arrays.SparseArray([0.0, 1.0] * (len(HOUSES) // 2)))
    assert to_pandas(sparse)["garden"].dtype == np.float64
    load_problem(StudySpec(data=sparse, target="price"))


def test_multi_level_column_names_are_flattened(tmp_path: Path) -> None:
    frame = HOUSES.copy()
    frame.columns = pd.MultiIndex.from_product([["house"], frame.columns])
    assert load_problem(StudySpec(data=frame)).dataset.description.target == "('house', 'price')"
    frame.to_parquet(tmp_path / "t.parquet")
    assert list(read_table(str(tmp_path / "t.parquet")).columns) == list(to_pandas(frame).columns)


def test_the_study_of_a_frame_names_its_experiment_and_model() -> None:
    spec = StudySpec(data=HOUSES, study="homes")
    assert (spec.experiment, spec.model) == ("homes", "homes")
    named = StudySpec(data=HOUSES, study="homes", model="best")
    assert (named.experiment, named.model) == ("homes", "best")
    assert StudySpec(data=HOUSES).study == "frame"


def test_specifications_with_tables_can_be_compared_and_pickled() -> None:
    spec = StudySpec(data=HOUSES)
    assert spec == spec  # noqa: PLR0124 it would raise
    assert spec != StudySpec(data=HOUSES)
    again = pickle.loads(pickle.dumps(spec))  # noqa: S301 our own, as Dask sends it
    assert again.table is not None
    pd.testing.assert_frame_equal(again.table, HOUSES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": 0}, "invalid trials 0"),
        ({"target": 2}, "invalid target 2: input should be a valid string"),
        ({"trails": 5}, r"there is no option 'trails' \(did you mean 'trials'\?\)"),
    ],
)
def test_an_invalid_value_is_reported_in_one_line_from_python_too(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        StudySpec(data=HOUSES, **options)
    assert "\n" not in str(caught.value)


def test_a_table_that_was_in_memory_must_be_written_to_a_file() -> None:
    with pytest.raises(DataError, match="was given in memory: write it to a file"):
        read_table("frame")

"""Tables that are in memory already, and what is made of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from shop import table

from search import StudySpec
from search.errors import DataError, UsageError
from search.frames import to_pandas
from search.problem import pose

HOUSES = table(200)


@pytest.mark.parametrize("given", [HOUSES, pl.from_pandas(HOUSES)], ids=["pandas", "polars"])
def test_frames_pose_the_problem_that_their_file_poses(given: Any, tmp_path: Path) -> None:
    HOUSES.to_parquet(tmp_path / "houses.parquet")
    here = pose(StudySpec(data=given, target="price"))
    there = pose(StudySpec(data=tmp_path / "houses.parquet", target="price"))
    assert here.dataset.digest == there.dataset.digest
    assert (here.spec.study, there.spec.study) == ("frame", "houses")


def test_an_arrays_columns_are_numbered_and_the_last_is_the_target() -> None:
    problem = pose(StudySpec(data=np.random.default_rng(0).normal(size=(100, 3))))
    assert problem.dataset.target == "x2"
    assert list(problem.dataset.features.columns) == ["x0", "x1"]


def test_labels_of_rows_are_no_column_and_the_frame_is_left_as_it_is() -> None:
    chosen = HOUSES[HOUSES["size"] > -1].set_index(HOUSES.index[HOUSES["size"] > -1] + 7)
    before = chosen.copy()
    assert list(to_pandas(chosen).columns) == list(HOUSES.columns)
    pose(StudySpec(data=chosen, target="price"))
    pd.testing.assert_frame_equal(chosen, before)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([1, 2], UsageError, "data of type list is no table: give a path"),
        (np.zeros(3), UsageError, "an array of shape (3,) is no table"),
        (pd.DataFrame({"a": []}), DataError, "the table has no rows (1 columns)"),
    ],
)
def test_what_is_no_table_is_said(given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message.replace("(", r"\(").replace(")", r"\)")):
        StudySpec(data=given)

"""Studies on tables in memory: frames and arrays."""

import importlib
import pickle
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dateutil.tz
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from made import make_dataset
from shop import table
from sklearn import config_context

from search import StudySpec
from search.data.frames import to_pandas
from search.data.table import read_table
from search.errors import DataError, UsageError
from search.forest.metrics import METRICS
from search.model.champion import make_champion, predict
from search.model.serialization import check_encoder
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


def zone(library: str, name: str) -> Any:
    """Return a time zone of another library."""
    module = importlib.import_module(library)
    find = {"pytz": "timezone", "dateutil.tz": "gettz"}[library]
    return getattr(module, find)(name)


@pytest.mark.parametrize("library", ["pytz", "dateutil.tz"])
@pytest.mark.parametrize(("name", "hour"), [("Europe/Paris", 13), ("UTC", 12)])
def test_time_zones_of_other_libraries_become_those_of_the_standard_library(
    library: str, name: str, hour: int
) -> None:
    times = pd.Series(pd.date_range("2024-01-01 12:00", periods=3, tz=zone(library, name)))
    read = to_pandas(pd.DataFrame({"at": times}))["at"]
    assert isinstance(read.dt.tz, ZoneInfo | timezone)
    assert (read == times).all()
    utc = pd.Series(pd.date_range("2024-01-01 12:00", periods=1, tz="UTC"))
    assert utc.dt.tz_convert(read.dt.tz).dt.hour[0] == hour


def test_a_time_zone_without_a_name_becomes_its_offset_or_utc() -> None:
    offset = dateutil.tz.tzoffset("here", 5400)
    named = timezone(timedelta(hours=1), "CET")
    local = dateutil.tz.tzlocal()
    for given, wanted in ((offset, "UTC+01:30"), (named, "UTC+01:00"), (local, None)):
        times = pd.Series(pd.date_range("2024-01-01", periods=3, tz=given))
        read = to_pandas(pd.DataFrame({"at": times}))["at"]
        assert isinstance(read.dt.tz, timezone)
        assert wanted in (None, str(read.dt.tz))
        assert (read == times).all()


def exotic(rows: int = 60) -> dict[str, pd.Series]:
    """Make columns of types that skops cannot save, or whose values have them."""
    random = np.random.default_rng(0)
    days, codes = pd.date_range("2024-01-01", periods=rows, freq="37h"), random.integers(0, 4, rows)
    paris, tokyo = zone("dateutil.tz", "Europe/Paris"), ZoneInfo("Asia/Tokyo")
    return {
        "zoned": pd.Series(days.tz_localize("UTC").tz_convert(paris)),
        "date32": pd.Series(days.date).astype("date32[pyarrow]"),
        "timestamp": pd.Series(days).astype("timestamp[us][pyarrow]"),
        "zoned_arrow": pd.Series(days.tz_localize("UTC")).convert_dtypes(dtype_backend="pyarrow"),
        "text": pd.Series([f"level {code}" for code in codes]).astype(pd.ArrowDtype(pa.string())),
        "boolean": pd.Series(codes > 1).astype("bool[pyarrow]"),
        "long": pd.Series(random.normal(size=rows).astype(np.longdouble)),
        "mixed": pd.Series([day.tz_localize((paris, tokyo)[k % 2]) for k, day in enumerate(days)]),
        "times": pd.Series(list(days.to_pydatetime()), dtype=object),
    }


def test_a_table_of_any_type_can_be_encoded_and_saved(tmp_path: Path) -> None:
    frame = pd.DataFrame(exotic()).assign(price=np.arange(60.0))
    frame.drop(columns=["long", "mixed", "zoned"]).to_parquet(tmp_path / "t.parquet")
    for read in (to_pandas(frame), read_table(str(tmp_path / "t.parquet"))):
        dataset = make_dataset("t", "price", table=read)
        check_encoder(dataset)
        assert all(
            isinstance(dtype, np.dtype | pd.StringDtype | pd.DatetimeTZDtype)
            for dtype in dataset.features.dtypes
        )
        dates = dataset.vectorized.vectorizer.kind_to_columns_["datetime"]
        assert set(dates) == set(read) & {
            "zoned",
            "date32",
            "timestamp",
            "zoned_arrow",
            "mixed",
            "times",
        }
        dataset.encode().transform(dataset.features)


def test_a_column_that_cannot_be_saved_is_refused() -> None:
    """A study gets such a table only if another library changes."""
    frame = pd.DataFrame({"rooms": [1, 2] * 30, "price": np.arange(60.0)})
    dataset = make_dataset("t", "price", table=frame.astype({"rooms": "Int64"}))
    check_encoder(dataset)
    steps = dataset.vectorized.vectorizer.all_processing_steps_
    steps["rooms"].append(dateutil.tz.tzlocal())
    with pytest.raises(DataError, match=r"column 'rooms' of type Int64 cannot be saved.*dateutil"):
        check_encoder(dataset)


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_encoding_does_not_depend_on_the_output_that_scikit_learn_is_configured_for(
    output: str,
) -> None:
    frame = pd.DataFrame({"text": ["a", "b", "c"] * 20, "price": np.arange(60.0)})
    wanted = make_dataset("t", "price", table=frame)
    with config_context(transform_output=output):
        found = make_dataset("t", "price", table=frame)
        pd.testing.assert_frame_equal(found.encode("target").X, wanted.encode("target").X)
        champion = make_champion(found, METRICS["rmse"], {}, 2, seed=0, jobs=1)
        assert len(predict(champion.pipeline, frame[["text"]], "regression")) == len(frame)


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

"""The champion is refitted, saved, and loaded to predict raw rows."""

import dataclasses
import decimal
import json
import warnings
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import grown, make_dataset
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from search.data.dataset import Dataset
from search.errors import StudyError
from search.forest.growing import grow
from search.forest.metrics import METRICS, Metric, get_metric
from search.forest.oob import UNBOUNDED, RungResult
from search.model.champion import (
    COPIES_SAVED,
    MAX_TREES,
    MIN_TREES,
    TreeCost,
    affordable_trees,
    auto_size,
    champion_size,
    check_fits,
    forecast_champion,
    forecast_seconds,
    make_champion,
    messages,
    predict,
)
from search.model.serialization import TRUSTED_TYPES, save_model
from search.study.problem import load_problem, make_problem
from search.study.spec import make_spec
from storage.records import TrialRecord

PARAMS = {"max_features": 0.5, "min_samples_leaf": 2, "max_depth": None, "max_samples": 0.9}


def metric_of(dataset: Dataset) -> Metric:
    return get_metric(None, dataset.task)


def save(dataset: Dataset, folder: Path, **params: Any) -> Any:
    champion = make_champion(dataset, metric_of(dataset), PARAMS | params, 8, 0, jobs=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save_model(champion.pipeline, dataset, folder, Model())
    return champion


def load(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mlflow.pyfunc.load_model(str(folder))


@pytest.fixture
def houses(mixed_csv: Path) -> Dataset:
    return make_dataset(str(mixed_csv), "price", holdout=0.2)


def test_the_same_seed_makes_the_same_forest_with_any_number_of_threads(houses: Dataset) -> None:
    one = make_champion(houses, METRICS["rmse"], PARAMS, 20, 0, jobs=1)
    two = make_champion(houses, METRICS["rmse"], PARAMS, 20, 0, jobs=2)
    other = make_champion(houses, METRICS["rmse"], PARAMS, 20, 1, jobs=1)
    rows = houses.held_out_features
    np.testing.assert_array_equal(one.pipeline.predict(rows), two.pipeline.predict(rows))
    assert not np.array_equal(one.pipeline.predict(rows), other.pipeline.predict(rows))


def test_it_is_scored_on_the_hold_out_by_every_main_metric(houses: Dataset) -> None:
    champion = make_champion(houses, METRICS["rmse"], PARAMS, 50, 0, jobs=1)
    assert set(champion.holdout) == {"rmse", "mse", "mae", "r2"}
    predicted = predict(champion.pipeline, houses.held_out_features, "regression")
    rmse = np.sqrt(np.mean((predicted - houses.held_out_y) ** 2))
    assert champion.holdout["rmse"] == pytest.approx(rmse)
    assert champion.holdout["r2"] > 0.3


def test_it_is_scored_by_the_studys_metric_as_well(houses: Dataset) -> None:
    champion = make_champion(houses, METRICS["max_error"], PARAMS, 20, 0, jobs=1)
    assert set(champion.holdout) == {"rmse", "mse", "mae", "r2", "max_error"}


def test_hold_out_scores_are_weighted(mixed_csv: Path) -> None:
    dataset = make_dataset(str(mixed_csv), "price", holdout=0.2, weight="rooms")
    champion = make_champion(dataset, METRICS["mae"], PARAMS, 20, 0, jobs=1)
    predicted = predict(champion.pipeline, dataset.held_out_features, "regression")
    weights = dataset.held_out_roles.weights
    expected = np.average(np.abs(predicted - dataset.held_out_y), weights=weights)
    assert champion.holdout["mae"] == pytest.approx(expected)
    assert champion.holdout["mae"] != pytest.approx(np.abs(predicted - dataset.held_out_y).mean())


def test_the_automatic_number_of_trees_is_limited() -> None:
    assert [auto_size(enough) for enough in (3, 321, 10**6)] == [MIN_TREES, 321, MAX_TREES]


@pytest.mark.parametrize(
    ("tree_bytes", "trees"), [(1e6, 400), (1.25e6, 400), (2e6, 250), (2.5e6, 200), (1e9, 200)]
)
def test_a_large_champion_has_fewer_trees_but_at_least_half(tree_bytes: float, trees: int) -> None:
    assert auto_size(400, tree_bytes) == trees


def test_the_requested_number_of_trees_comes_before_the_forecast() -> None:
    forecast = TrialRecord(0, "COMPLETE", {}, enough_steps=300, model_steps=150)
    assert champion_size(20, forecast) == 20
    assert champion_size("auto", forecast) == 150
    before = dataclasses.replace(forecast, model_steps=None)  # written by an earlier version
    assert champion_size("auto", before) == 300
    assert champion_size("auto", dataclasses.replace(before, enough_steps=None)) == MIN_TREES


@pytest.mark.parametrize("limits", [{"max_depth": None}, {"max_depth": 3}])
@pytest.mark.parametrize("target", ["linear", "classes"])
def test_the_size_of_a_champion_is_forecast_from_trees_on_a_sample(
    target: str, limits: dict[str, Any]
) -> None:
    random = np.random.RandomState(0)
    X = pd.DataFrame(random.normal(size=(2000, 4)), columns=list("abcd"))
    y = X["a"] + random.normal(size=2000)
    frame = X.assign(y=y if target == "linear" else np.where(y > 0, "yes", "no"))
    spec = make_spec({"data": frame, "target": "y", "holdout": 0})
    problem = load_problem(spec)
    dataset, params = problem.dataset, PARAMS | limits
    sample = dataclasses.replace(
        problem.training_set, X=problem.training_set.X[:500], y=problem.training_set.y[:500]
    )
    sums = grown(sample, params, 16)
    result = RungResult(1.0, 1.0, (), False, 16, 500, 16, 1.0, 150, 1.0, nodes=sums.nodes)
    champion = make_champion(dataset, metric_of(dataset), params, 20, 0, jobs=1)
    forecast = forecast_champion(20, 2000, dataset.n_classes, params, result)
    assert forecast.n_bytes == pytest.approx(champion.n_bytes, rel=0.1)
    more = forecast_champion("auto", 2000, dataset.n_classes, params, result)
    assert (forecast.auto_trees, more.auto_trees) == (150, 150)
    assert more.n_bytes == pytest.approx(7.5 * forecast.n_bytes, rel=0.01)


def test_messages_report_the_size_and_the_coverage(houses: Dataset) -> None:
    champion = make_champion(houses, METRICS["rmse"], PARAMS, 20, 0, jobs=1)
    taken = sum(tree.tree_.__sizeof__() for tree in champion.pipeline[-1].estimators_)
    assert champion.n_bytes > taken / 10
    (text,) = messages(champion, 40, None)
    assert text.startswith("champion: 20 trees, about ")
    assert text.endswith("squared error 1% above the infinite forest's")
    large = dataclasses.replace(champion, n_bytes=10**9)
    said = list(messages(large, 40, 0.5))
    assert len(said) == 3
    assert "the model is large; to make it smaller: larger leaves by [space]" in said[1]
    assert "only 50% of the rows, or of a class," in said[2]
    assert "--evaluation cv" in said[2]
    (text,) = messages(champion, UNBOUNDED, None)
    assert "infinite" not in text
    many = dataclasses.replace(large, trees=500)
    assert (
        "the model is large; to make it smaller: --trees 250, or larger"
        in list(messages(many, 40, None))[1]
    )


def test_a_champion_that_does_not_fit_into_memory_is_refused_with_a_remedy(
    houses: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_champion(houses, METRICS["rmse"], PARAMS, 100, 0, jobs=1)
    # The upper bound of the size does not fit, so one tree is grown first to measure it.
    monkeypatch.setattr("search.model.champion.free_memory", lambda: int(1.5 * whole.n_bytes))
    again = make_champion(houses, METRICS["rmse"], PARAMS, 100, 0, jobs=1)
    assert again.n_bytes == whole.n_bytes
    monkeypatch.setattr("search.model.champion.free_memory", lambda: whole.n_bytes // 2)
    with pytest.raises(
        StudyError, match=r"100 trees takes .* kB are free: .*--trees 2\d, or "
    ) as error:
        make_champion(houses, METRICS["rmse"], PARAMS, 100, 0, jobs=1)
    assert "\n" not in str(error.value)
    make_champion(houses, METRICS["rmse"], PARAMS, 25, 0, jobs=1)
    with pytest.raises(
        StudyError, match=r"25 trees takes .* kB while it is saved, but only .*--trees"
    ):
        check_fits(houses, PARAMS, 25, 0, COPIES_SAVED)


@pytest.mark.parametrize(
    "column",
    [
        [0.5, 1.5, None, 2.5] * 25,
        ["red", "green", None, "blue"] * 25,
        pd.to_datetime(["2026-01-01", "2026-03-02", None, "2025-07-03"] * 25),
    ],
)
def test_one_column_with_missing_values_is_enough(column: Any) -> None:
    table = pd.DataFrame({"a": column, "y": np.arange(100.0)})
    dataset = make_dataset("a table", "y", table=table)
    champion = make_champion(dataset, metric_of(dataset), {}, 3, 0, jobs=1)
    assert predict(champion.pipeline, table[["a"]], "regression").shape == (100,)
    rows = make_problem(
        make_spec({"data": table, "target": "y", "holdout": 0.0}), dataset
    ).training_set
    assert next(grow(rows, {}, 0, 0, [0])).trees == rows.chunk


def test_there_are_no_scores_without_a_hold_out(mixed_csv: Path) -> None:
    dataset = make_dataset(str(mixed_csv), "price")
    assert make_champion(dataset, metric_of(dataset), PARAMS, 5, 0, jobs=1).holdout == {}


@pytest.mark.parametrize("splitter", ["best", pytest.param("random", marks=pytest.mark.slow)])
def test_the_saved_model_predicts_raw_rows_as_the_pipeline_does(
    houses: Dataset, tmp_path: Path, splitter: str
) -> None:
    champion = save(houses, tmp_path / "model", splitter=splitter)
    rows = houses.held_out_features
    np.testing.assert_array_equal(
        load(tmp_path / "model").predict(rows), champion.pipeline.predict(rows)
    )


def test_the_saved_model_accepts_the_values_of_training_and_more(
    houses: Dataset, tmp_path: Path
) -> None:
    """Missing integers, nullable integers, unseen categories and whole numbers as floats."""
    save(houses, tmp_path / "model")
    model = load(tmp_path / "model")
    row = houses.features.head(2)
    expected = model.predict(row)
    np.testing.assert_array_equal(model.predict(row.astype({"rooms": float})), expected)
    np.testing.assert_array_equal(model.predict(row.astype({"rooms": "Int64"})), expected)
    hole = row.astype({"rooms": "Int64"}).assign(rooms=pd.array([None, 3], dtype="Int64"))
    assert np.isfinite(model.predict(hole)).all()
    unseen = row.assign(city=["Paris", None], rooms=[np.nan, 2.0])
    assert np.isfinite(model.predict(unseen)).all()
    np.testing.assert_array_equal(model.predict(row[row.columns[::-1]]), expected)


@pytest.mark.slow
def test_a_missing_column_is_a_schema_error(houses: Dataset, tmp_path: Path) -> None:
    save(houses, tmp_path / "model")
    with pytest.raises(MlflowException, match="rooms"):
        load(tmp_path / "model").predict(houses.features.drop(columns="rooms"))


@pytest.mark.slow
def test_a_model_takes_rows_with_and_without_dropped_columns(
    mixed_table: pd.DataFrame, tmp_path: Path
) -> None:
    drop = ("note", "rooms")
    dataset = make_dataset("frame", "price", holdout=0.2, table=mixed_table, drop=drop)
    champion = save(dataset, tmp_path / "model")
    model = load(tmp_path / "model")
    columns = {column.name: column.required for column in model.metadata.signature.inputs}
    needed = dict.fromkeys(dataset.features.columns, True)
    assert columns == needed | dict.fromkeys(drop, False)
    rows = dataset.held_out_rows
    expected = champion.pipeline.predict(dataset.held_out_features)
    for sent in (rows, rows.drop(columns="note"), rows.drop(columns=list(drop))):
        np.testing.assert_array_equal(model.predict(sent), expected)
    other = rows.assign(note=None, rooms="many")[rows.columns[::-1]]
    np.testing.assert_array_equal(model.predict(other), expected)
    np.testing.assert_array_equal(champion.pipeline.predict(other), expected)
    with pytest.raises(MlflowException, match="size"):
        model.predict(rows.drop(columns="size"))
    with warnings.catch_warnings():  # MLflow warns of its own type hints
        warnings.simplefilter("ignore")
        from mlflow.pyfunc import scoring_server
    # MLflow's server answers requests with this function.
    for sent in (rows, rows.drop(columns=list(drop))):
        content = f'{{"dataframe_split": {sent.to_json(orient="split", index=False)}}}'
        schema = model.metadata.get_input_schema()
        answer = scoring_server.invocations(content, "application/json", model, schema)
        assert answer.status == 200, answer.response
        np.testing.assert_allclose(json.loads(answer.response)["predictions"], expected)


@pytest.mark.slow
def test_all_types_of_a_parquet_file_are_saved_and_predicted(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    n = 120
    stamps = pd.date_range("2020-01-01", periods=n, freq="7h")
    table = pd.DataFrame(
        {
            "stamp": stamps,
            "zoned": stamps.tz_localize("Europe/Berlin"),
            "utc": stamps.tz_localize("UTC"),
            "iso": stamps.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "day": stamps.date,
            "grade": pd.Categorical(random.choice(["lo", "hi"], n), ["lo", "mid", "hi"]),
            "code": pd.Categorical(random.integers(0, 4, n)),
            "cents": [decimal.Decimal(int(v)) / 100 for v in random.integers(0, 999, n)],
            "flag": pd.array(random.choice([True, False, None], n), dtype="boolean"),
            "raw": [b"x%d" % (i % 3) for i in range(n)],
            "it's \"odd\", isn't it?": random.normal(size=n),
            "y": random.normal(size=n),
        }
    )
    table.to_parquet(tmp_path / "t.parquet")
    dataset = make_dataset(str(tmp_path / "t.parquet"), "y", holdout=0.2)
    champion = save(dataset, tmp_path / "model")
    rows = dataset.held_out_features
    model = load(tmp_path / "model")
    np.testing.assert_array_equal(model.predict(rows), champion.pipeline.predict(rows))
    missing = rows.assign(**{name: None for name in rows.columns if name != "stamp"})
    assert np.isfinite(model.predict(missing)).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("labels", "params"),
    [
        (("high", "low"), {}),
        (("high", "low"), {"splitter": "random", "class_weight": "balanced_subsample"}),
        pytest.param((3, 1), {}, marks=pytest.mark.slow),
        ((0.5, 1e30), {}),
    ],
)
def test_a_classifier_predicts_the_tables_labels(
    tmp_path: Path, labels: tuple[Any, Any], params: dict[str, Any]
) -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame({"a": random.normal(size=300), "b": random.choice(list("xyz"), 300)})
    table["kind"] = np.where(table["a"] > 0, *labels)
    table.to_csv(tmp_path / "t.csv", index=False)
    dataset = make_dataset(str(tmp_path / "t.csv"), "kind", holdout=0.2)
    champion = save(dataset, tmp_path / "model", **params)
    assert champion.holdout["accuracy"] > 0.95
    predicted = load(tmp_path / "model").predict(dataset.held_out_features)
    # scikit-learn rejects fractions as classes, so such labels become text.
    assert set(predicted) == set(map(str, labels) if isinstance(labels[0], float) else labels)


def test_the_folder_holds_skops_example_signature_and_pinned_requirements(
    houses: Dataset, tmp_path: Path
) -> None:
    save(houses, tmp_path / "model")
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"MLmodel", "model.skops", "input_example.json", "requirements.txt"} <= names
    assert not {name for name in names if name.endswith((".pkl", ".pickle"))}
    requirements = (tmp_path / "model" / "requirements.txt").read_text().split()
    assert all("==" in line for line in requirements)
    assert {line.split("==")[0] for line in requirements} >= {"scikit-learn", "skrub", "skops"}
    info = Model.load(str(tmp_path / "model"))
    assert [column.name for column in info.signature.inputs] == list(houses.features.columns)
    assert info.flavors["sklearn"]["skops_trusted_types"] == list(TRUSTED_TYPES)


def test_a_type_that_is_not_trusted_is_refused_by_name(houses: Dataset, tmp_path: Path) -> None:
    champion = make_champion(houses, METRICS["rmse"], PARAMS, 5, 0, jobs=1)

    class Odd(type(champion.pipeline)):  # type: ignore[misc]
        pass

    odd = Odd(champion.pipeline.steps)
    Odd.__qualname__ = Odd.__name__ = "Odd"
    globals()["Odd"] = Odd
    with pytest.raises(MlflowException, match="Odd"):
        save_model(odd, houses, tmp_path / "model", Model())


@given(st.floats(0, 1000), st.floats(1e-3, 60), st.floats(0, 1e9), st.integers(1, 16))
def test_a_champion_that_fits_into_the_time_is_forecast_to_take_no_longer(
    seconds: float, tree_seconds: float, tree_bytes: float, jobs: int
) -> None:
    cost = TreeCost(tree_seconds, tree_bytes)
    trees = affordable_trees(seconds, cost, jobs)
    assert trees >= jobs
    made_in_a_second = 1 / cost.champion_seconds(jobs)
    if trees > max(jobs, made_in_a_second):
        assert forecast_seconds(trees, cost, jobs) <= seconds + 1e-6


def test_a_small_forest_is_not_cut_by_the_time_limit() -> None:
    assert affordable_trees(0.0, TreeCost(0.001, 1e4), 2) >= 1000

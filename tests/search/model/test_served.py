"""A served model predicts the same in every spelling of a value, and never reads one as missing."""

import ast
import json
import logging
import os
import re
import subprocess
import sys
from contextlib import chdir
from datetime import date, datetime
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from made import make_dataset
from mlflow.exceptions import MlflowException
from mlflow_stores import copy_store
from shop import Shop
from sklearn import config_context

from search.forest.metrics import METRICS
from search.model import served
from search.model.champion import make_champion
from search.model.serialization import load_model, taught
from search.model.served import RowReader

Model = Any  # mlflow.pyfunc.PyFuncModel, whose import raises a warning

_VALENTINE = pd.Timestamp("2023-02-14")
_PARIS = pd.Timestamp("2023-02-14 09:00", tz="Europe/Paris")
# A row as it is in the training table.
ROW: dict[str, Any] = {
    "sold": "2023-02-14",
    "seen": "2023-02-14 09:00:00+01:00",
    "built": "02/14/2023",
    "garden": True,
    "pool": True,
    "size": 71,
    "street": 1003,
    "zone": "3",
    "owned": "true",
    "about": "a house with some garden",
}
# Other spellings that JSON can express.
SPELLINGS: dict[str, list[Any]] = {
    "sold": [
        "2023-02-14T00:00:00",
        "2023-02-14 00:00:00.000",
        "2023-02-14T00:00:00Z",
        "2023-02-14T00:00:00+02:00",
        " 2023-02-14 ",
        "20230214",
        "14 Feb 2023",
        "Tue, 14 Feb 2023 00:00:00 GMT",
        1676332800,
        1676332800.0,
        1676332800000,
        1676332800000000,
        1676332800000000000,
        "1676332800000",
    ],
    "seen": [
        "2023-02-14T08:00:00Z",
        "2023-02-14T03:00:00-05:00",
        "2023-02-14 08:00",
        1676361600,
        1676361600000,
    ],
    "built": ["2023-02-14", "02/14/2023 00:00:00", "02/14/2023 00:00", 1676332800000],
    "garden": ["True", "true", "TRUE", 1, 1.0, "1"],
    "pool": ["True", "true", 1, "1.0"],
    "size": ["71", "71.0", " 71 ", "7.1e1", 71.0],
    "street": ["1003", 1003.0, "1003.0"],
    "zone": [3, 3.0, "3.0"],
    "owned": [True, "True"],
    "about": [],
}
# Other spellings in Python.
OBJECTS: dict[str, list[Any]] = {
    "sold": [
        _VALENTINE,
        _VALENTINE.tz_localize("UTC"),
        _VALENTINE.tz_localize("Europe/Paris"),
        _VALENTINE.to_datetime64(),
        date(2023, 2, 14),
        datetime(2023, 2, 14),
    ],
    "seen": [_PARIS, _PARIS.tz_convert("America/New_York"), _PARIS.to_pydatetime()],
    "built": [_VALENTINE, date(2023, 2, 14)],
    "garden": [np.True_, np.int64(1)],
    "size": [np.float32(71), np.int8(71)],
    "street": [np.int32(1003)],
    "zone": [np.int64(3)],
}
UNREADABLE: dict[str, list[Any]] = {
    "sold": ["yesterday", "14.02.2023", "02/14/2023", "2023-02-30", 2023, 44971, True, "now", [1]],
    "built": ["14/02/2023"],
    "garden": ["yes", 2, "2"],
    "pool": ["maybe"],
    "size": ["large", "7l", "1_000", "true", [1], {"a": 1}],
    "street": ["Main Street"],
}


def table(n_rows: int = 200) -> pd.DataFrame:
    random = np.random.default_rng(0)
    days = _VALENTINE + pd.to_timedelta(random.integers(-400, 400, n_rows), "D")
    minutes = pd.to_timedelta(random.integers(0, 1440, n_rows), "min")
    zone, street = random.integers(1, 6, n_rows), random.integers(0, 6, n_rows)
    words = np.array(["old", "new", "red", "big", "quiet", "bright", "stone", "brick"])
    houses = pd.DataFrame(
        {
            "sold": days.strftime("%Y-%m-%d"),
            "seen": (days + minutes).tz_localize("UTC").tz_convert("Europe/Paris").astype(str),
            "built": days[::-1].strftime("%m/%d/%Y"),
            "garden": random.random(n_rows) < 0.5,
            "pool": np.array([None, True, False], dtype=object)[random.integers(0, 3, n_rows)],
            "size": random.integers(20, 120, n_rows),
            "street": street + 1000,
            "zone": np.where(zone < 5, zone.astype(str), "A1"),
            "owned": np.array(["true", "false", "unknown"])[random.integers(0, 3, n_rows)],
            "about": [" ".join(random.choice(words, 6)) for _ in range(n_rows)],
        }
    )
    houses.loc[::9, ["sold", "seen", "built", "size"]] = None
    return houses.assign(price=random.random(n_rows))


@pytest.fixture(scope="module")
def shop(empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A registry with a model of every kind of column."""
    folder = tmp_path_factory.mktemp("served")
    made = Shop(copy_store(empty_mlflow, folder), folder)
    made.write(table())
    with chdir(folder):
        made.add({"max_features": 1.0}, trees=2, categorical=["street"], na=["-999"])
    return made


@pytest.fixture(scope="module")
def reader(shop: Shop) -> RowReader:
    (version,) = shop.registry.versions("houses")
    return load_model(shop.registry, version).reader


@pytest.fixture(scope="module")
def model(shop: Shop) -> Model:
    mlflow.set_tracking_uri(shop.tracking_uri)
    return mlflow.pyfunc.load_model("models:/houses/1")


def rows_of(spellings: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Return a row for each spelling of each value, but for numbers that are dates.

    The numbers of a column all have the same unit.
    """
    texts = [
        (name, value)
        for name, values in spellings.items()
        for value in values
        if name not in ("sold", "seen", "built") or not isinstance(value, int | float)
    ]
    return [ROW, *(ROW | {name: value} for name, value in texts)]


def answer(model: Model, body: Any) -> list[float]:
    """Ask as a client of `mlflow models serve` does."""
    from mlflow.pyfunc.scoring_server import invocations

    schema = model.metadata.get_input_schema()
    found = invocations(json.dumps(body), "application/json", model, schema)
    assert found.status == 200
    return list(json.loads(found.response)["predictions"])


@pytest.mark.parametrize("name", list(ROW))
def test_every_spelling_is_read_as_the_same_value(reader: RowReader, name: str) -> None:
    wanted = reader.read(pd.DataFrame([ROW]))[name][0]
    assert not pd.isna(wanted)
    for value in SPELLINGS[name] + OBJECTS.get(name, []):
        cell = pd.DataFrame([ROW | {name: value}], dtype=object)
        assert reader.read(cell)[name][0] == wanted, value
        typed = pd.DataFrame([ROW]).assign(**{name: pd.Series([value])})
        assert reader.read(typed)[name][0] == wanted, value


def test_text_is_rewritten_as_the_training_table_was(tmp_path: Path) -> None:
    lines = [f"$1,{k:03}.50;{k},5;{k} kg;{k % 12 + 1}/6/2024;{k}.25;{k}" for k in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["price;length;mass;sold;plain;y", *lines]))
    data = make_dataset(str(tmp_path / "t.csv"), "y", dates="day-first")
    pipeline = make_champion(data, METRICS["rmse"], {}, 2, seed=0, jobs=1).pipeline
    reader = RowReader(pipeline, json.loads(json.dumps(taught(data))))
    raw = {"price": "$1,007.50", "length": "7,5", "mass": "7 kg", "sold": "8/6/2024"}
    plain = {"price": 1007.5, "length": "7.5", "mass": 7, "sold": "2024-06-08"}
    rows = [row | {"plain": "7.25"} for row in (raw, plain)]
    found = reader.read(pd.DataFrame(rows, dtype=object))
    wanted = data.features.iloc[[7]].assign(sold=pd.Timestamp("2024-06-08"))
    for row in (0, 1):
        assert found.iloc[row].tolist() == wanted.iloc[0].tolist()


@pytest.mark.parametrize("name", list(ROW))
def test_missing_values_are_read_as_in_training(reader: RowReader, name: str) -> None:
    words = () if name in ("zone", "owned", "about") else ("", "NA", " null ", "-")
    for value in (None, float("nan"), pd.NA, pd.NaT, "-999", *words):
        read = reader.read(pd.DataFrame([ROW | {name: value}], dtype=object))
        assert pd.isna(read[name][0]), value
    if name in ("size", "street"):
        for number in (-999, -999.0):
            assert pd.isna(reader.read(pd.DataFrame([ROW | {name: number}]))[name][0])


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in UNREADABLE.items() for value in values]
)
def test_a_value_that_cannot_be_read_is_an_error(reader: RowReader, name: str, value: Any) -> None:
    rows = pd.DataFrame([ROW, ROW | {name: value}, ROW | {name: value}], dtype=object)
    quoted = re.escape(str(value)).replace("'", ".")
    wrong = f"column '{name}' holds .*: cannot read .{quoted}.* in row 2 and 1 more"
    with pytest.raises(ValueError, match=wrong):
        reader.read(rows)


def test_every_spelling_gives_the_same_prediction(model: Model) -> None:
    rows = [*rows_of(SPELLINGS), *rows_of(OBJECTS)]
    assert len(set(model.predict(pd.DataFrame(rows, dtype=object)))) == 1


def test_what_the_model_does_not_know_is_logged(
    reader: RowReader, caplog: pytest.LogCaptureFixture
) -> None:
    reader.read(pd.DataFrame([ROW]))
    assert not caplog.records
    reader.read(pd.DataFrame([ROW | {"zone": "9", "street": 77}]))
    assert "column 'street': '77' in row 1 is no category of the model" in caplog.text
    assert "column 'zone': '9' in row 1 is no category of the model" in caplog.text
    reader.read(pd.DataFrame([ROW | {"sold": "2023-02-14T00:00:00+02:00"}]))
    assert "column 'sold': time zones are left out" in caplog.text
    assert all(record.levelno == logging.WARNING for record in caplog.records)


def test_a_category_that_csv_readers_take_for_missing_is_pointed_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    houses = table(60).assign(zone=["None", "tram", "bus"] * 20)[["size", "zone", "price"]]
    dataset = make_dataset("houses", "price", table=houses)
    pipeline = make_champion(dataset, METRICS["rmse"], {}, 2, seed=0, jobs=1).pipeline
    reader = RowReader(pipeline, {})
    reader.read(dataset.features)
    assert not caplog.records
    reader.read(dataset.features.assign(zone=None))
    assert "column 'zone' has missing values, and 'None' is a category" in caplog.text


@pytest.mark.parametrize("first", [1, 2])
def test_numbers_are_dates_in_the_unit_that_is_nearest_to_the_training_table(first: int) -> None:
    """The same number is in 1970 in milliseconds, and in 2286 in seconds."""
    days = pd.date_range("1968-01-01" if first == 1 else "2280-01-01", periods=60, freq="60D")
    houses = pd.DataFrame({"day": days.astype(str), "price": np.arange(60.0)})
    dataset = make_dataset("houses", "price", table=houses)
    pipeline = make_champion(dataset, METRICS["rmse"], {}, 2, seed=0, jobs=1).pipeline
    read = RowReader(pipeline, taught(dataset)).read(pd.DataFrame({"day": [9_990_000_000]}))
    assert read["day"][0].year == (1970 if first == 1 else 2286)


def test_a_table_of_numbers_is_read_without_a_vectorizer() -> None:
    houses = pd.DataFrame({"size": np.arange(60), "age": np.arange(60) / 7})
    houses["price"] = np.arange(60.0)
    dataset = make_dataset("houses", "price", table=houses, na=["-1"])
    pipeline = make_champion(dataset, METRICS["rmse"], {}, 2, seed=0, jobs=1).pipeline
    reader = RowReader(pipeline, taught(dataset))
    rows = pd.DataFrame({"size": ["7", 7.0, pd.NA, -1, "NA"], "age": [1, "1", 1, None, "-1"]})
    read = reader.read(rows.astype(object))
    assert read["size"][:2].tolist() == [7, 7]
    assert read["size"][2:].isna().all()
    assert read["age"].isna().tolist() == [False, False, False, True, True]
    assert len(set(pipeline.predict(read)[:2])) == 1
    with pytest.raises(ValueError, match="column 'age' holds numbers: cannot read 'old' in row 1"):
        reader.read(pd.DataFrame({"size": [1], "age": ["old"]}))


def test_the_server_reads_every_spelling(model: Model) -> None:
    rows = rows_of(SPELLINGS)
    wanted = answer(model, {"dataframe_records": [ROW]}) * len(rows)
    columns = {name: [row[name] for row in rows] for name in ROW}
    for body in (
        {"dataframe_records": rows},
        {"dataframe_split": {"columns": list(ROW), "data": [list(row.values()) for row in rows]}},
        {"instances": rows},
        {"inputs": columns},
        *(
            {"inputs": columns | {"sold": [number] * len(rows)}}
            for number in (1676332800, 1676332800000)
        ),
    ):
        assert answer(model, body) == wanted, body


def test_the_server_names_what_it_cannot_read(model: Model) -> None:
    with pytest.raises(MlflowException, match="column 'sold' holds dates") as raised:
        answer(model, {"dataframe_records": [ROW | {"sold": "soon"}]})
    assert raised.value.get_http_status_code() == 400


def test_the_loader_imports_only_what_the_model_requires() -> None:
    tree = ast.parse(Path(served.__file__).read_text())
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
        if name is not None
    }
    assert imported - sys.stdlib_module_names <= {"mlflow", "numpy", "pandas", "sklearn", "skrub"}


def test_python_caches_nothing_in_the_folder_of_a_model(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    (version,) = shop.registry.versions("houses")
    for name in [name for name in sys.modules if name.startswith("grovekeeper_served")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    mlflow.set_tracking_uri(shop.tracking_uri)
    mlflow.pyfunc.load_model("models:/houses/1")
    assert load_model(shop.registry, version).version == version


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_predictions_do_not_depend_on_the_output_that_scikit_learn_is_configured_for(
    model: Model, output: str
) -> None:
    rows = pd.DataFrame([ROW])
    wanted = model.predict(rows)
    with config_context(transform_output=output):
        assert model.predict(rows) == wanted


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_batch_is_read_in_every_spelling(shop: Shop, tmp_path: Path, form: str) -> None:
    """The process cannot import the project."""
    rows = rows_of(SPELLINGS)
    given, out = tmp_path / f"rows.{form}", tmp_path / "out.json"
    if form == "csv":
        pd.DataFrame(rows).to_csv(given, index=False)
    else:
        given.write_text(json.dumps({"dataframe_records": rows}))
    asked = ["models", "predict", "-m", "models:/houses/1", "--env-manager", "local"]
    asked += ["--input-path", str(given), "--content-type", form, "--output-path", str(out)]
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, "-m", "mlflow", *asked],
        check=True,
        capture_output=True,
        cwd=tmp_path,
        env=alone | {"MLFLOW_TRACKING_URI": shop.tracking_uri},
    )
    assert len(set(json.loads(out.read_text())["predictions"])) == 1

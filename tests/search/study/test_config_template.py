"""The file that `init` writes, as it is written and with every option uncommented."""

import json
import re
import tomllib
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft7Validator
from shop import table

from search.errors import DataError, UsageError
from search.study.config_template import config_template
from search.study.problem import load_problem
from search.study.schema import SCHEMA
from search.study.spec import StudySpec, make_spec

EVERYTHING = {field.alias or name for name, field in StudySpec.model_fields.items()}


@pytest.fixture
def houses(tmp_path: Path) -> str:
    made = table(200)
    made["street"] = made["street"].map("street {}".format)
    made.loc[:9, "street"] = None
    made.to_csv(tmp_path / "houses.csv", index=False)
    return str(tmp_path / "houses.csv")


def uncommented(text: str) -> dict[str, object]:
    return tomllib.loads(re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE))


def test_the_file_makes_the_same_problem_as_its_table(houses: str) -> None:
    text = config_template(houses, None, "houses.toml")
    found = tomllib.loads(text)
    assert found == {"data": houses, "target": "price", "space": {}}
    assert (
        load_problem(make_spec(found)).identity()
        == load_problem(make_spec({"data": houses})).identity()
    )


def test_it_names_every_option_and_each_can_be_uncommented(houses: str) -> None:
    found = uncommented(config_template(houses, None, "houses.toml"))
    assert set(found) == EVERYTHING
    spec = make_spec(found | {"data": "sqlite:///shop.db"})
    for name in ("trials", "holdout", "trees", "seed", "folds", "evaluation", "detach"):
        assert getattr(spec, name) == StudySpec.model_fields[name].default
    columns = {"weight", "group", "time", "drop", "categorical", "positive"}
    without = {k: v for k, v in found.items() if k not in {"query", *columns}}
    assert (
        load_problem(make_spec(without)).space.keys()
        == load_problem(make_spec({"data": houses})).space.keys()
    )


def test_it_lists_the_columns(houses: str) -> None:
    text = config_template(houses, "street", "houses.toml")
    assert re.search(r"#   street +\w+, 5 values, 10 missing\n", text)
    assert re.search(r"#   size +float64, 200 values\n", text)
    assert '\ntarget = "street"\n' in text
    assert '# task = "classification"' in text
    assert '# metric = "brier"' in text


def test_it_lists_the_classes_and_names_the_positive_one(tmp_path: Path) -> None:
    states = ["left"] * 20 + ["stayed"] * 178 + ["Stayed"] * 2
    rows = table(200).assign(state=states)
    rows.to_csv(tmp_path / "staff.csv", index=False)
    text = config_template(str(tmp_path / "staff.csv"), "state", "staff.toml")
    assert "# Classes of state: stayed (178 rows), left (20 rows), Stayed (2 rows)\n" in text
    assert "#   the classes 'stayed' and 'Stayed' differ only in case and spaces" in text
    rows.iloc[:-2].to_csv(tmp_path / "staff.csv", index=False)
    text = config_template(str(tmp_path / "staff.csv"), "state", "staff.toml")
    assert '# positive = "left"  # or "stayed"\n' in text


def test_a_table_without_a_header_stays_without_one(tmp_path: Path) -> None:
    table(200).to_csv(tmp_path / "houses.csv", index=False, header=False)
    text = config_template(str(tmp_path / "houses.csv"), None, "houses.toml", header=False)
    assert re.search(r"#   x0 +\w+, \d+ values\n", text)
    found = tomllib.loads(text)
    assert (
        load_problem(make_spec(found)).identity()
        == load_problem(make_spec({"data": found["data"], "header": False})).identity()
    )


def test_it_gives_hints_on_columns(tmp_path: Path) -> None:
    made = table(200).assign(number=range(200), **{"the\ncost": lambda t: 3 * t["price"]})
    made.to_parquet(tmp_path / "houses.parquet")
    text = config_template(str(tmp_path / "houses.parquet"), "price", "houses.toml")
    assert "\n#\n# Hints:\n#   column 'number' has a distinct value in every row" in text
    assert "\n#   column 'the cost' alone predicts 'price' almost perfectly: " in text
    assert tomllib.loads(text)["target"] == "price"


def test_unusual_names_stay_on_their_line(tmp_path: Path) -> None:
    odd = 'a\n"b" \\ #é'
    frame = pd.DataFrame({"x" * 99: range(30), odd: np.arange(30) * 0.5})
    frame.to_parquet(tmp_path / "a 'b'.parquet")
    found = uncommented(config_template(str(tmp_path / "a 'b'.parquet"), None, "odd.toml"))
    assert found["target"] == odd


def test_a_column_of_lists_or_with_control_characters_is_written(tmp_path: Path) -> None:
    frame = pd.DataFrame({"l": [[1], [2]] * 20, "a\x1bb": range(40), "y": np.arange(40) * 0.5})
    frame.to_parquet(tmp_path / "odd.parquet")
    text = config_template(str(tmp_path / "odd.parquet"), "y", "odd.toml")
    assert tomllib.loads(text)["target"] == "y"
    assert re.search(r"#   l +object\n#   a b +int64, 40 values\n", text)


def test_not_all_columns_of_a_wide_table_are_listed(tmp_path: Path) -> None:
    frame = pd.DataFrame(np.zeros((20, 300)), columns=[f"x{k}" for k in range(300)])
    frame.to_parquet(tmp_path / "wide.parquet")
    assert "… and 100 more" in config_template(str(tmp_path / "wide.parquet"), None, "wide.toml")


def test_the_task_of_a_decimal_target_is_detected_as_launch_does(tmp_path: Path) -> None:
    price = [Decimal(k) / 4 for k in range(40)]
    pd.DataFrame({"a": range(40), "price": price}).to_parquet(tmp_path / "t.parquet")
    assert '# task = "regression"' in config_template(str(tmp_path / "t.parquet"), None, "t.toml")


def test_a_target_without_values_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"a": range(40), "y": [None] * 40}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="all 40 values of the target 'y' are missing"):
        config_template(str(tmp_path / "t.parquet"), None, "t.toml")


def test_an_unknown_target_is_refused(houses: str) -> None:
    with pytest.raises(UsageError, match="did you mean 'price'"):
        config_template(houses, "prize", "houses.toml")


def test_the_published_schema_matches_the_specification(houses: str) -> None:
    kept = json.loads(SCHEMA.read_text(encoding="utf-8"))
    made = StudySpec.model_json_schema()
    for key in ("$defs", "additionalProperties", "properties", "type"):
        assert kept[key] == made[key], "run python docs/schema.py"
    assert kept["additionalProperties"] is False
    assert set(kept["properties"]) == EVERYTHING
    assert all(about["description"] for about in kept["properties"].values())
    validator = Draft7Validator(kept)
    assert (
        list(validator.iter_errors(uncommented(config_template(houses, None, "houses.toml")))) == []
    )
    wrong = {"data": "a.csv", "trails": 5, "holdout": 2, "metric": 3}
    assert len(list(validator.iter_errors(wrong))) == 3

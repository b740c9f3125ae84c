from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.data.addresses import TableAddress
from search.errors import UsageError
from search.study.spec import Range, make_spec, read_config


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("diabetes", "diabetes"),
        ("houses.csv", "houses"),
        ("/a/b/Houses.v2.csv.gz", "Houses.v2"),
        ("my table (1).parquet", "my-table-1"),
        ("…", "study"),
        ("..", "study"),
        ("x" * 300 + ".csv", "x" * 100),
    ],
)
def test_names_default_to_the_name_of_the_data(data: str, name: str) -> None:
    assert TableAddress(data).study_name == name
    spec = make_spec({"data": data})
    assert (spec.study, spec.experiment, spec.model) == (name, name, name)


def test_defaults_are_the_documented_ones() -> None:
    spec = make_spec({})
    assert (spec.trials, spec.seed, spec.holdout, spec.trees) == (50, 0, 0.2, "auto")
    assert spec.register_model
    assert (spec.weight, spec.group, spec.time) == (None, None, None)
    assert (spec.evaluation, spec.folds) == ("auto", 5)


def space(**asked: Any) -> dict[str, Any]:
    return {"space": {"max_features": asked}}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"trials": 0}, "trials 0"),
        ({"holdout": 1.0}, "holdout 1.0"),
        ({"holdout": -0.1}, "holdout -0.1"),
        ({"workers": 0}, "workers 0"),
        ({"timeout": 0}, "timeout 0"),
        ({"seed": -1}, "seed -1"),
        ({"task": "clustering"}, "task 'clustering'"),
        ({"trees": "many"}, "trees 'many'"),
        ({"study": "a b"}, "study name 'a b'"),
        ({"study": ".."}, "study name '..'"),
        ({"model": "x/y"}, "model name 'x/y'"),
        ({"experiment": "e" * 101}, "experiment name"),
        ({"evaluation": "loo"}, "evaluation 'loo'"),
        ({"folds": 1}, "folds 1"),
        ({"folds": 51}, "folds 51"),
        ({"nonsense": 1}, "there is no option 'nonsense': there are data, query"),
        ({"trails": 1}, "there is no option 'trails' (did you mean 'trials'?): there are data"),
        ({"trees": 0}, "invalid trees 0: input should be greater than or equal to 1, or 'auto'"),
        (
            space(low=1.0, high=0.5),
            "invalid [space] max_features = {'low': 1.0, 'high': 0.5}: low",
        ),
        (space(low=0.0, high=0.5, log=True), "a logarithmic range needs low above 0, not 0.0"),
        (space(low=0.1, hgh=0.5), "a range has low, high and log, but 'high' is missing"),
        (
            space(low=0.1, high=0.5, of=2),
            "a range has low, high and log, but 'of' is unknown",
        ),
        ({"data": ""}, "invalid data ''"),
        ({"regster": True}, "there is no option 'regster' (did you mean 'register'?)"),
        (
            {"trials": True},
            "invalid trials True: only header, register, detach and restore are true or false",
        ),
        (
            {"decimal": ",", "thousands": ","},
            "--decimal and --thousands are both ',': they must be different",
        ),
        ({"space": {"max_features": [[1]]}}, "= [[1]]: give a value, a list of values"),
    ],
)
def test_an_invalid_value_is_reported_in_one_line(values: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as error:
        make_spec(values)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_toml_file_gives_every_option_and_the_space(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        'data = "houses.csv"\ntarget = "price"\ntrials = 7\nregister = false\n'
        'group = "owner"\nweight = "rooms"\nevaluation = "cv"\nfolds = 3\n'
        "[space]\nmax_features = {low = 0.1, high = 1.0}\nmax_depth = [4, 8, 16]\n"
        'criterion = "squared_error"\n'
    )
    spec = make_spec(read_config(path))
    assert (spec.study, spec.target, spec.trials) == ("houses", "price", 7)
    assert not spec.register_model
    assert (spec.group, spec.weight, spec.evaluation, spec.folds) == ("owner", "rooms", "cv", 3)
    assert spec.space == {
        "max_features": Range(low=0.1, high=1.0),
        "max_depth": (4, 8, 16),
        "criterion": "squared_error",
    }


def test_numpy_numbers_are_accepted() -> None:
    space = {
        "min_samples_leaf": np.array([1, 2]),
        "max_depth": [None, np.int64(4)],
        "max_features": {"low": np.float64(0.1), "high": np.float32(0.5)},
        "splitter": "best",
    }
    spec = make_spec({"space": space, "trials": np.int64(7)})
    assert spec.trials == 7
    assert spec.space["min_samples_leaf"] == (1, 2)
    assert all(type(leaf) is int for leaf in spec.space["min_samples_leaf"])
    assert spec.space["max_depth"] == (None, 4)
    assert spec.space["max_features"].high == 0.5


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    with pytest.raises(UsageError, match="cannot read --config"):
        read_config(path)
    path.write_text("trials = = 3")
    with pytest.raises(UsageError, match="is not valid TOML"):
        read_config(path)

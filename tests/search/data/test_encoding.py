"""Encodings of categories: which are offered, what they keep apart, and what they leak."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from search.data.dataset import Dataset, load_dataset
from search.data.description import DataDescription
from search.data.encoding import Encoded, Encoding, count_columns, cross_fitting
from search.errors import DataError

ALL: tuple[Encoding, ...] = ("ordinal", "target", "ordinal+target", "onehot")


def columns(n_rows: int = 600, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    words = np.array(["red", "green", "blue", "fish", "and", "chips", "with", "some", "more"])
    return pd.DataFrame(
        {
            "size": random.choice(["small", "medium", "large", "huge"], n_rows),
            "street": [f"street {k}" for k in random.integers(0, 80, n_rows)],
            "sold": pd.date_range("2020-01-01", periods=n_rows).astype(str),
            "rooms": [str(k) for k in random.integers(1, 9, n_rows)],
            "garden": random.choice(["yes", "no"], n_rows),
            "about": [" ".join(random.choice(words, 12)) for _ in range(n_rows)],
            "area": random.random(n_rows),
        }
    )


def dataset(frame: pd.DataFrame, y: Any = None, **options: Any) -> Dataset:
    random = np.random.default_rng(1)
    target = random.random(len(frame)) if y is None else y
    about = DataDescription(**{"source": "t", "target": "y", "holdout": 0.2} | options)
    return load_dataset(about, table=frame.assign(y=target))


def test_columns_are_read_as_what_they_hold_not_by_their_number_of_levels() -> None:
    houses = dataset(columns())
    assert houses.vectorized.texts == ("about",)
    assert set(houses.vectorized.levels) == {"size", "street", "garden"}
    encoded = houses.encode("ordinal")
    assert encoded.sources["rooms"] == ["remainder__rooms"]
    assert len(encoded.sources["sold"]) > 2
    assert len(encoded.sources["about"]) == 30


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_columns_of_an_encoding_are_counted_before_it_is_computed(classes: int) -> None:
    y = None if not classes else [f"class {k % classes}" for k in range(600)]
    frame = columns()
    frame.loc[::7, "size"] = None
    houses = dataset(frame, y)
    for encoding in ALL:
        counted = count_columns(houses.vectorized, encoding, houses.n_classes)
        assert counted == houses.encode(encoding).X.shape[1]


def test_names_that_hardly_repeat_are_categories_and_not_free_text() -> None:
    frame = columns().assign(owner=[f"family {k}" for k in range(600)])
    assert "owner" in dataset(frame).vectorized.levels


def test_columns_named_categorical_are_categories_whatever_they_hold() -> None:
    frame = columns().assign(shop=np.arange(600) % 50 + 1000)
    assert "shop" not in dataset(frame).vectorized.levels
    named = dataset(frame, categorical=("about", "rooms", "shop"))
    assert named.vectorized.codes == ("shop",)
    assert named.vectorized.texts == ()
    assert {"about", "rooms", "shop"} < set(named.vectorized.levels)
    encoded = named.encode("ordinal+target")
    assert len(encoded.sources["shop"]) == 2
    new = named.held_out_features[:4].assign(shop=[1001, 1001.0, None, 7])
    found = encoded.transform(new)[encoded.sources["shop"]].to_numpy()
    np.testing.assert_array_equal(found[0], found[1])
    assert np.isnan(found[2:, 0]).all()


def test_columns_of_measured_numbers_stay_as_they_are() -> None:
    """Even if they have the name of a component of a text, or other columns are empty."""
    frame = columns().assign(about_07=np.arange(600), empty=np.nan)
    houses = dataset(frame)
    assert not {"area", "about_07"} & set(houses.vectorized.vectorizer.feature_names_in_)
    for encoding in ALL:
        encoded = houses.encode(encoding)
        rows = encoded.transform(houses.features)
        for name in ("area", "about_07"):
            (made,) = encoded.sources[name]
            np.testing.assert_array_equal(encoded.X[made], houses.features[name].astype("float32"))
            np.testing.assert_array_equal(rows[made], houses.features[name])
        assert "empty" not in encoded.sources
        made = [name for made in encoded.sources.values() for name in made]
        assert sorted(made) == sorted(encoded.X)


@pytest.mark.parametrize("encoding", ALL)
def test_numbers_are_the_same_if_they_pass_through_the_vectorizer(encoding: Encoding) -> None:
    """As they did in records of format 1, which are still reproduced."""
    houses = dataset(columns())
    old = replace(houses, vectorizes_numbers=True).encode(encoding)
    now = houses.encode(encoding)
    assert [type(step).__name__ for _, step in old.steps] == [
        "TableVectorizer",
        "ColumnTransformer",
    ]
    for name, made in now.sources.items():
        np.testing.assert_array_equal(old.X[old.sources[name]], now.X[made])


def test_a_table_of_numbers_with_codes_is_encoded() -> None:
    frame = columns()[["area"]].assign(shop=np.arange(600) % 50)
    assert dataset(frame).is_numeric
    assert dataset(frame, categorical=("shop",)).encodings == ALL[:3]


def test_codes_that_cannot_be_told_apart_as_numbers_are_refused() -> None:
    frame = columns()[["area"]].assign(shop=np.arange(600) + 2**24)
    with pytest.raises(DataError, match="'shop' holds 16777815: codes above 16777216"):
        _ = dataset(frame, categorical=("shop",)).X


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_each_encoding_gives_numbers_for_training_rows_and_new_rows(classes: int) -> None:
    y = None if not classes else [f"class {k % classes}" for k in range(600)]
    houses = dataset(columns(), y)
    assert houses.encodings == ALL
    for encoding in ALL:
        encoded = houses.encode(encoding)
        assert set(map(str, encoded.X.dtypes)) == {"float32"}
        new = encoded.transform(houses.held_out_features)
        assert list(new) == list(encoded.X)
        made = [name for made in encoded.sources.values() for name in made]
        assert sorted(made) == sorted(encoded.X)
    width = {2: 1, 3: 3}.get(classes, 1)
    assert len(houses.encode("target").sources["street"]) == width
    assert len(houses.encode("ordinal+target").sources["street"]) == 1 + width
    assert len(houses.encode("onehot").sources["size"]) == 4
    assert len(houses.encode("onehot").sources["street"]) == 1


def test_nothing_is_offered_if_the_encodings_do_not_differ() -> None:
    assert dataset(columns()[["garden", "area", "rooms"]]).encodings == ()
    assert dataset(columns()[["area"]]).encodings == ()


def test_the_target_encoding_is_not_offered_if_it_makes_too_many_columns() -> None:
    y = [f"class {k % 40}" for k in range(600)]
    assert dataset(columns()[["size", "street"]], y, holdout=0.0).encodings == ("ordinal", "onehot")


def test_the_one_hot_encoding_is_not_offered_if_no_category_has_few_levels() -> None:
    assert dataset(columns()[["street", "area"]]).encodings == ALL[:3]


def new_rows(size: Any, street: Any) -> pd.DataFrame:
    return columns()[:3].assign(
        size=pd.Series([size, "small", "large"]), street=pd.Series([street, None, "street 1"])
    )


@pytest.fixture(scope="module")
def gaps() -> Dataset:
    """A dataset with missing streets."""
    frame = columns()
    frame.loc[::9, "street"] = None
    return dataset(frame)


@pytest.fixture(scope="module")
def encodings(gaps: Dataset) -> dict[str, Encoded]:
    return {encoding: gaps.encode(encoding) for encoding in ALL}


@pytest.mark.slow
@pytest.mark.parametrize("value", ["never seen", None, np.nan, 7])
@pytest.mark.parametrize("encoding", ALL)
def test_unknown_and_missing_categories_are_encoded(
    value: Any, encoding: Encoding, encodings: dict[str, Encoded]
) -> None:
    encoded = encodings[encoding]
    for rows in (new_rows(value, value), new_rows(value, value)[:1]):
        found = encoded.transform(rows)
        assert list(found) == list(encoded.X)
        assert np.isfinite(found[encoded.sources["area"]]).all(axis=None)


def test_an_unknown_category_has_the_mean_target_and_a_missing_one_its_own() -> None:
    frame = columns()
    frame.loc[:99, "street"] = None
    y = np.where(frame["street"].isna(), 100.0, 0.0) + np.random.default_rng(2).random(600)
    houses = dataset(frame, y, holdout=0.0)
    encoded = houses.encode("target")
    (column,) = encoded.sources["street"]
    new = frame[98:102].copy()
    new.loc[101, "street"] = "never seen"
    found = encoded.transform(new)[column].to_numpy()
    assert found[0] == found[1] == pytest.approx(100.5, abs=1)
    assert found[2] == pytest.approx(0.5, abs=1)
    assert found[3] == pytest.approx(y.mean())


def encoded_street(y: NDArray[Any], frame: pd.DataFrame, **options: Any) -> NDArray[Any]:
    encoded = dataset(frame, y, holdout=0.0, **options).encode("target")
    return encoded.X[encoded.sources["street"]].to_numpy()


@pytest.mark.parametrize("group", [None, "owner"])
def test_no_row_is_encoded_with_its_own_target_or_that_of_its_group(group: str | None) -> None:
    frame = columns().assign(owner=np.arange(600) // 6)
    y = np.random.default_rng(2).random(600)
    before = encoded_street(y, frame, group=group)
    for row in (0, 17, 599):
        changed = y.copy()
        changed[row] += 50
        after = encoded_street(changed, frame, group=group)
        own = frame["owner"] == frame["owner"][row] if group else frame.index == row
        np.testing.assert_array_equal(before[own], after[own])
        assert (before != after).any()


def test_rows_with_equal_features_do_not_see_the_targets_of_each_other() -> None:
    frame = pd.concat([columns(300)] * 2, ignore_index=True)
    y = np.random.default_rng(2).random(600)
    before = encoded_street(y, frame)
    changed = y.copy()
    changed[5] += 50
    after = encoded_street(changed, frame)
    np.testing.assert_array_equal(before[[5, 305]], after[[5, 305]])
    assert (before != after).any()


def test_no_row_is_encoded_with_the_targets_of_later_periods() -> None:
    frame = columns().assign(day=np.arange(600))
    y = np.random.default_rng(2).random(600)
    before = encoded_street(y, frame, time="day")
    changed = y.copy()
    changed[400:] += np.random.default_rng(3).random(200)
    after = encoded_street(changed, frame, time="day")
    np.testing.assert_array_equal(before[:400], after[:400])
    assert (before[500:] != after[500:]).any()


@pytest.mark.parametrize("times", [np.arange(50), np.zeros(50), np.repeat([0, 1], 25)])
def test_every_row_is_encoded_once(times: NDArray[Any]) -> None:
    for splits in (cross_fitting(50), cross_fitting(50, times=times)):
        tested = np.concatenate([test for _, test in splits])
        np.testing.assert_array_equal(np.sort(tested), np.arange(50))
        assert all(len(train) and not set(train) & set(test) for train, test in splits)


@pytest.mark.slow
def test_encoding_twice_gives_the_same_bits() -> None:
    for encoding in ALL:
        first, second = (dataset(columns()).encode(encoding).X for _ in range(2))
        pd.testing.assert_frame_equal(first, second, check_exact=True)

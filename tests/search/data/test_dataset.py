import gzip
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays, from_dtype
from made import make_dataset

from search.data.dataset import Dataset
from search.data.description import ResolvedDescription
from search.data.encoding import make_vectorizer
from search.data.table import read_table
from search.errors import DataError, UsageError


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def numbers(rows: int, target: str = "{i}.5") -> str:
    lines = [f"{i},{i % 7},{target.format(i=i, letter='ab'[i % 2])}" for i in range(rows)]
    return "\n".join(["a,b,y", *lines]) + "\n"


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz", "t.tsv.gz", "t.parquet"])
def test_every_format_reads_the_same_table(name: str, tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [1, 2, 3], "ü": ["x", "y, z", None], "c": [1.5, None, 2.5]})
    path = tmp_path / name
    if name.endswith("parquet"):
        table.to_parquet(path)
    else:
        table.to_csv(path, sep="\t" if "tsv" in name else ",", index=False)
    read = read_table(str(path))
    assert list(read.columns) == ["a", "ü", "c"]
    assert read["ü"].tolist()[:2] == ["x", "y, z"]
    assert read["c"].isna().tolist() == [False, True, False]


def test_semicolons_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbfa;b\n1;2\n")
    assert list(read_table(str(path)).columns) == ["a", "b"]


def test_the_diabetes_data_needs_no_file() -> None:
    dataset = make_dataset("diabetes", holdout=0.2)
    assert (dataset.description.target, dataset.task) == ("target", "regression")
    assert len(dataset.y) + len(dataset.held_out_y) == 442
    assert dataset.X.shape == (len(dataset.y), 10)
    assert set(map(str, dataset.X.dtypes)) == {"float32"}
    assert dataset.notes == ()


def test_a_raw_table_becomes_float_columns_and_rows_without_a_target_are_noted(
    mixed_csv: Path, mixed_table: pd.DataFrame
) -> None:
    dataset = make_dataset(str(mixed_csv), "price", holdout=0.2)
    missing = int(mixed_table["price"].isna().sum())
    assert missing > 0
    assert f"{missing} of 240 rows have no 'price' and are left out" in dataset.notes
    assert set(map(str, dataset.X.dtypes)) == {"float32"}
    assert list(dataset.features.columns) == ["size", "rooms", "garden", "city", "sold", "note"]


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([0, 1], [0, 1]),
        ([0.0, 1.0], [0, 1]),
        ([True, False], [False, True]),
        (["no", "yes"], ["no", "yes"]),
    ],
)
def test_labels_keep_their_type_in_the_table(
    values: list[object], classes: list[object], tmp_path: Path
) -> None:
    table = pd.DataFrame({"a": range(200), "y": [values[i % 2] for i in range(200)]})
    path = tmp_path / "t.parquet"
    table.to_parquet(path)
    dataset = make_dataset(str(path), "y", "classification", 0.2)
    assert dataset.classes is not None
    assert dataset.classes.tolist() == classes
    assert type(dataset.classes.tolist()[0]) is type(classes[0])
    assert set(np.unique(dataset.y)) == {0, 1}


def test_without_a_hold_out_every_row_is_for_training(tmp_path: Path) -> None:
    dataset = make_dataset(write(tmp_path, "t.csv", numbers(30)))
    assert len(dataset.y) == 30
    assert len(dataset.held_out_y) == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("a,y\n", "has no rows"),
        ("a,y\n" + "1,\n" * 30, "all 30 values of the target 'y' are missing"),
        ("a,y\n" + "1,3\n" * 30, "the target 'y' is 3 in all 30 rows"),
        ("y\n" + "1\n2\n" * 30, "no column besides the target"),
        (numbers(15), "fewer than 10: train on every row with --holdout 0"),
        (numbers(60, "{letter}").replace("7,0,b", "7,0,rare"), "no row of class 'rare'"),
        (numbers(60).replace("\n3,", "\ninf,"), "column 'a' has 1 infinite values"),
        (numbers(60).replace("\n3,", "\n1e300,"), "column 'a' has 1 infinite values"),
        (numbers(60).replace("\n3,3,3.5", "\n3,3,inf"), "the target 'y' has 1 infinite values"),
        (numbers(60, "name{i}"), "has 60 classes in 60 rows"),
        ("a,y\n1,2\n1,2,3\n", "cannot read"),
        (",y\n" + ",1\n,2\n" * 20, "all values besides the target are missing"),
    ],
)
def test_a_table_that_cannot_be_learned_is_refused_in_one_line(
    text: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as error:
        make_dataset(write(tmp_path, "t.csv", text), holdout=0.2)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_lists_in_cells_are_refused_by_column(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [[1, 2]] * 40, "y": np.arange(40) / 2})
    table.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="column 'a' holds values of type ndarray"):
        make_dataset(str(tmp_path / "t.parquet"), holdout=0.2)


def test_names_and_texts_that_are_too_long_are_refused_by_column(tmp_path: Path) -> None:
    lines = "".join(f"{i},{i}.5\n" for i in range(60))
    named = write(tmp_path, "n.csv", "x" * 501 + ",y\n" + lines)
    with pytest.raises(DataError, match=r"column 'x{40}…' has a name of 501 characters"):
        make_dataset(named)
    assert make_dataset(write(tmp_path, "o.csv", "x" * 500 + ",y\n" + lines))
    long = write(tmp_path, "t.csv", "x,y\n" + "q" * 1_000_001 + ",1\n" + lines)
    with pytest.raises(DataError, match="column 'x' holds a text of 1,000,001 characters"):
        make_dataset(long)
    frame = pd.DataFrame({"a\0b": range(60), "y": range(60)})
    with pytest.raises(DataError, match="has a NUL character in its name"):
        make_dataset("frame", table=frame)


@pytest.mark.parametrize("group", [None, "household"])
def test_classes_with_two_rows_are_trained_and_held_out(group: str | None) -> None:
    target = [*["common"] * 400, *(f"rare {place // 2}" for place in range(40))]
    frame = pd.DataFrame({"x": np.arange(440), "household": np.arange(440) % 430, "y": target})
    dataset = make_dataset("frame", "y", holdout=0.2, table=frame, group=group)
    assert set(dataset.y) == set(dataset.held_out_y) == set(range(21))
    if group is not None:
        assert not set(dataset.features["x"] % 430) & set(dataset.held_out_features["x"] % 430)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (["a"] * 60, "is a in all 60 rows"),
        (["a"] * 59 + ["rare"], "has no row of class 'rare'"),
        ([f"c{i % 31}" for i in range(60)], "has 31 classes in 60 rows"),
        (pd.date_range("2024-01-01", periods=60), "has 60 classes in 60 rows"),
        ([np.inf, *np.arange(59)], "1 infinite values, the first in row 1: leave these rows out"),
        ([b"a", b"b"] * 30, "column 'y' holds values of type bytes"),
        ([(1, 2)] * 60, "column 'y' holds values of type tuple"),
    ],
    ids=["one class", "a class of one row", "many classes", "dates", "infinite", "bytes", "tuples"],
)
def test_a_target_that_cannot_be_learned_is_refused_in_one_line(target: object, says: str) -> None:
    frame = pd.DataFrame({"x": np.arange(60), "y": target})
    with pytest.raises(DataError) as error:
        make_dataset("frame", "y", holdout=0.2, table=frame)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_one_row_is_too_few() -> None:
    with pytest.raises(DataError, match="in all 1 rows that have one: nothing to learn"):
        make_dataset("frame", table=pd.DataFrame({"x": [1], "y": [2.5]}))


def test_unusual_columns_become_features() -> None:
    frame = pd.DataFrame(
        {
            "constant": 1,
            "empty": None,
            "far": np.array(["9999-01-01", "0001-01-01"] * 30, dtype="datetime64[s]"),
            "mixed": [1, "one", None] * 20,
            "a/b:c%$#@!\"'`\\\n{}[]<>é☃ ": range(60),
            "y": np.arange(60) * 0.5,
        }
    )
    dataset = make_dataset("frame", "y", table=frame)
    assert dataset.X.shape[0] == 60


def test_a_column_without_a_name_is_refused() -> None:
    """MLflow ignores an empty name: the model could not be called."""
    frame = pd.DataFrame({"": range(60), "y": np.arange(60) * 0.5})
    with pytest.raises(DataError, match="a column has no name: give it one"):
        make_dataset("frame", "y", table=frame)


def test_complex_numbers_are_refused_by_column() -> None:
    frame = pd.DataFrame({"a": np.arange(60) + 1j, "y": np.arange(60) * 0.5})
    with pytest.raises(DataError, match="column 'a' holds complex numbers"):
        make_dataset("frame", "y", table=frame)
    with pytest.raises(DataError, match="column 'a' holds complex numbers"):
        make_dataset("frame", "a", table=frame)


def test_durations_and_periods_are_refused_by_column(tmp_path: Path) -> None:
    for values in (
        pd.to_timedelta(range(40), unit="h"),
        pd.period_range("2020-01", periods=40, freq="M"),
    ):
        table = pd.DataFrame({"a": values, "y": np.arange(40) / 2})
        table.to_parquet(tmp_path / "t.parquet")
        with pytest.raises(DataError, match=r"column 'a' holds (timedelta|period).*as a number"):
            make_dataset(str(tmp_path / "t.parquet"), holdout=0.2)


def test_row_labels_are_a_column_and_separators_at_the_end_are_not(tmp_path: Path) -> None:
    labelled = write(tmp_path, "r.csv", "a,y\n" + "r1,2,3\nr2,4,5\n")
    assert list(read_table(labelled).columns) == ["index", "a", "y"]
    trailing = write(tmp_path, "t.csv", "a,b,y\n1,2,3,\n4,5,6,\n")
    assert read_table(trailing)["y"].tolist() == [3, 6]
    table = pd.DataFrame({"key": [7, 8], "y": [1.0, 2.0]}).set_index("key")
    table.to_parquet(tmp_path / "t.parquet")
    assert list(read_table(str(tmp_path / "t.parquet")).columns) == ["key", "y"]


def test_a_decimal_target_is_a_number(tmp_path: Path) -> None:
    cents = [Decimal(i) / 100 for i in range(200)]
    pd.DataFrame({"a": range(200), "y": cents}).to_parquet(tmp_path / "t.parquet")
    assert make_dataset(str(tmp_path / "t.parquet"), "y", holdout=0.2).task == "regression"


def test_a_boolean_target_with_missing_values_keeps_its_labels(tmp_path: Path) -> None:
    lines = [f"{i},{['True', 'False', ''][i % 3]}" for i in range(150)]
    source = write(tmp_path, "t.csv", "\n".join(["a,y", *lines]))
    classes = make_dataset(source, "y", holdout=0.2).classes
    assert classes is not None
    assert classes.tolist() == [False, True]


def test_damaged_files_and_missing_paths_are_refused(tmp_path: Path) -> None:
    for name, content in (
        ("t.csv", b"\xff\xfe\x00"),
        ("t.parquet", b"PAR1"),
        ("t.csv.gz", b"\x1f\x8bno"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot read --data"):
            read_table(str(path))
    with gzip.open(tmp_path / "cut.csv.gz", "wb") as file:
        file.write(b"a,b\n" * 10_000)
    cut = (tmp_path / "cut.csv.gz").read_bytes()[:-20]
    (tmp_path / "cut.csv.gz").write_bytes(cut)
    with pytest.raises(DataError, match="cannot read --data"):
        read_table(str(tmp_path / "cut.csv.gz"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is a folder without Parquet files"):
        read_table(str(tmp_path / "empty"))
    with pytest.raises(DataError, match="does not exist"):
        read_table(str(tmp_path / "none.csv"))


def test_a_mistyped_target_is_reported_with_a_suggestion_and_the_columns(tmp_path: Path) -> None:
    source = write(tmp_path, "t.csv", numbers(30).replace("a,b,y", "alpha,beta,yield"))
    with pytest.raises(
        UsageError, match=r"did you mean 'yield'\?\): its columns are alpha, beta, yield"
    ):
        make_dataset(source, "yeild", holdout=0.2)


def test_a_text_target_is_refused_for_a_regression(tmp_path: Path) -> None:
    source = write(tmp_path, "t.csv", numbers(60, "{letter}"))
    with pytest.raises(UsageError, match="is not a number"):
        make_dataset(source, "y", "regression", 0.2)


def shops(folder: Path, **columns: Any) -> Dataset:
    """A table of ten rows for each of 40 shops, on consecutive days, half of them held out."""
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "shop": np.repeat([f"shop {k}" for k in range(40)], 10),
            "day": pd.date_range("2024-01-01", periods=200).repeat(2).strftime("%Y-%m-%d"),
            "sales": random.uniform(1, 9, 400),
            "size": random.normal(size=400),
            "y": random.normal(size=400),
        }
    )
    table = table.sample(frac=1, random_state=0)
    table.to_csv(folder / "t.csv", index=False)
    return make_dataset(str(folder / "t.csv"), "y", holdout=0.25, **columns)


def test_weights_and_groups_are_not_features_and_times_are(tmp_path: Path) -> None:
    assert list(shops(tmp_path).features) == ["shop", "day", "sales", "size"]
    dataset = shops(tmp_path, weight="sales", group="shop")
    assert list(dataset.features) == list(dataset.held_out_features) == ["day", "size"]
    assert list(shops(tmp_path, time="day").features) == ["shop", "day", "sales", "size"]


def test_dropped_columns_are_not_features_but_part_of_the_digest(tmp_path: Path) -> None:
    dataset = shops(tmp_path, drop=("day", "shop"))
    assert list(dataset.features) == list(dataset.held_out_features) == ["sales", "size"]
    assert dataset.description.digest == shops(tmp_path).description.digest
    assert list(dataset.held_out_rows) == ["sales", "size", "day", "shop"]
    whole = pd.read_csv(tmp_path / "t.csv")
    taken = dataset.held_out_rows.merge(whole, on=["sales", "size", "day", "shop"])
    np.testing.assert_array_equal(taken["y"], dataset.held_out_y)


def test_a_table_without_a_column_to_learn_from_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path, "t.csv", numbers(40))
    with pytest.raises(UsageError, match=r"--drop leaves no column of .*: drop fewer columns"):
        make_dataset(source, "y", drop=("a", "b"))


def test_a_column_that_cannot_be_learned_from_can_be_dropped(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [[1, 2]] * 40, "b": range(40), "y": np.arange(40) / 2})
    table["c"] = [np.inf, *range(39)]
    table["d"] = pd.to_timedelta(range(40), unit="h")
    table["e"] = "q" * 1_000_001
    for name in "acde":
        others = tuple(set("acde") - {name})
        with pytest.raises(DataError, match=f"column '{name}'"):
            make_dataset("frame", "y", table=table, drop=others)
    dataset = make_dataset("frame", "y", table=table, drop=tuple("acde"))
    assert list(dataset.features) == ["b"]


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.text(max_size=3)), min_size=40, max_size=60),
    st.sampled_from([{}, {"group": "group"}, {"time": "time"}]),
    st.integers(),
)
def test_dropped_columns_do_not_affect_the_sides_of_rows(
    cells: list[tuple[int, str]], role: dict[str, str], odd: int
) -> None:
    table = pd.DataFrame(cells, columns=["a", "b"])
    number = np.arange(len(table))
    table = table.assign(group=number // 2, time=number, y=number / 2)
    table = table[["a", "b", *role.values(), "y"]]
    wider = table.assign(extra=np.random.default_rng(odd % 2**32).permutation(number))
    try:
        expected = make_dataset("frame", "y", holdout=0.4, table=table, **role)
    except DataError:  # too few rows on one side
        assume(False)
    found = make_dataset("frame", "y", holdout=0.4, table=wider, drop=("extra",), **role)
    np.testing.assert_array_equal(found.y, expected.y)
    np.testing.assert_array_equal(found.held_out_y, expected.held_out_y)
    pd.testing.assert_frame_equal(found.features, expected.features)
    np.testing.assert_equal(found.units, expected.units)


def test_a_group_is_entirely_in_training_or_entirely_held_out(tmp_path: Path) -> None:
    dataset = shops(tmp_path, group="shop")
    inside, outside = dataset.roles.groups, dataset.held_out_roles.groups
    assert inside is not None
    assert outside is not None
    assert set(np.bincount(inside)) == set(np.bincount(outside)) == {10}
    assert len(np.unique(inside)) + len(np.unique(outside)) == 40
    assert len(outside) == pytest.approx(100, abs=60)


def test_the_latest_rows_are_held_out_if_there_are_times(tmp_path: Path) -> None:
    dataset = shops(tmp_path, time="day")
    assert max(dataset.features["day"]) < min(dataset.held_out_features["day"])
    assert len(dataset.held_out_y) == pytest.approx(100, abs=2)


def test_training_weights_have_mean_one_and_held_out_weights_are_unscaled(
    tmp_path: Path,
) -> None:
    dataset = shops(tmp_path, weight="sales")
    assert dataset.weights is not None
    assert dataset.weights.mean() == pytest.approx(1)
    assert dataset.held_out_roles.weights is not None
    assert len(dataset.held_out_roles.weights) == len(dataset.held_out_y)
    assert dataset.held_out_roles.weights.min() >= 1
    assert shops(tmp_path).weights is None


def test_a_part_with_zero_weights_only_is_refused_in_one_line(tmp_path: Path) -> None:
    for zero, part in ((lambda i: i < 71, "training set"), (lambda i: i >= 60, "hold-out")):
        lines = [f"{i},{0 if zero(i) else 1},{i}.5" for i in range(80)]
        source = write(tmp_path, "t.csv", "\n".join(["t,w,y", *lines]))
        with pytest.raises(DataError, match=f"'w' is 0 in every row of the {part}"):
            make_dataset(source, "y", holdout=0.2, weight="w", time="t")


def test_rows_without_a_target_need_no_roles(tmp_path: Path) -> None:
    lines = [f"{i},{i % 4},{i}.5" for i in range(60)] + ["60,,"]
    source = write(tmp_path, "t.csv", "\n".join(["a,g,y", *lines]))
    assert make_dataset(source, "y", group="g").roles.groups is not None


def test_rows_with_equal_features_are_one_unit(tmp_path: Path) -> None:
    lines = [f"{i % 25},{i % 5},{i}.5" for i in range(40)]
    source = write(tmp_path, "t.csv", "\n".join(["a,b,y", *lines]))
    units = make_dataset(source, "y").units
    assert units is not None
    assert len(np.unique(units)) == 25
    np.testing.assert_array_equal(units[:15], units[25:])
    assert make_dataset(write(tmp_path, "u.csv", numbers(40)), "y").units is None


_NUMBERS = ["int8", "int64", "uint16", "uint64", "float32", "float64"]


@settings(max_examples=40)
@given(data=st.data(), dtypes=st.lists(st.sampled_from(_NUMBERS), min_size=1, max_size=4))
def test_numeric_columns_equal_the_output_of_the_vectorizer(
    data: st.DataObject, dtypes: list[str]
) -> None:
    n_rows = data.draw(st.integers(1, 6))
    columns = {}
    for k, dtype in enumerate(dtypes):
        kinds = {"allow_infinity": False} if dtype.startswith("float") else {}
        elements = from_dtype(np.dtype(dtype), **kinds)
        columns[f"x{k}"] = data.draw(arrays(dtype, n_rows, elements=elements))
        if dtype == "float64":
            limit = np.finfo(np.float32).max
            columns[f"x{k}"] = np.clip(columns[f"x{k}"], -limit, limit)
    frame = pd.DataFrame(columns)
    y = np.zeros(n_rows)
    description = ResolvedDescription(
        source="t", target="y", task="regression", holdout=0.0, digest=""
    )
    dataset = Dataset(description, frame, y, frame[:0], y[:0], None)
    pd.testing.assert_frame_equal(
        dataset.X, make_vectorizer().fit_transform(frame), check_exact=True
    )

"""Close values of columns are merged in large tables."""

import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeRegressor

from search.data.merging import merge_values

N_ROWS = 30_000


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    random = np.random.RandomState(0)
    skewed = random.lognormal(sigma=3, size=N_ROWS)
    return pd.DataFrame(
        {
            "even": random.uniform(size=N_ROWS),
            "skewed": skewed,
            "missing": np.where(random.uniform(size=N_ROWS) < 0.1, np.nan, skewed[::-1]),
            "identifier": random.permutation(N_ROWS),
            "few": random.randint(0, 9_000, N_ROWS) / 8,
        },
        dtype=np.float32,
    )


def test_measurements_keep_512_of_their_values(rows: pd.DataFrame) -> None:
    before = rows.copy()
    merged = merge_values(rows)
    assert list(merged.columns) == list(rows.columns)
    assert set(merged.dtypes) == {np.dtype(np.float32)}
    for name in ("even", "skewed", "missing"):
        assert merged[name].nunique() <= 512
        assert set(merged[name].dropna()) <= set(rows[name])
        np.testing.assert_array_equal(merged[name].isna(), rows[name].isna())
    pd.testing.assert_frame_equal(rows, before)


def test_whole_numbers_and_columns_of_few_values_are_left_as_they_are(rows: pd.DataFrame) -> None:
    merged = merge_values(rows)
    pd.testing.assert_frame_equal(merged[["identifier", "few"]], rows[["identifier", "few"]])
    unchanged = rows[["identifier", "few"]]
    assert merge_values(unchanged) is unchanged


def test_small_tables_are_left_as_they_are(rows: pd.DataFrame) -> None:
    small = rows.head(N_ROWS - 1)
    assert merge_values(small) is small


def test_a_tree_of_merged_rows_predicts_the_original_rows_the_same(rows: pd.DataFrame) -> None:
    merged = merge_values(rows)
    y = np.log(rows["skewed"]) + rows["even"] + np.random.RandomState(1).normal(size=N_ROWS)
    tree = DecisionTreeRegressor(min_samples_leaf=5, random_state=0).fit(merged, y)
    assert tree.get_n_leaves() > 100
    np.testing.assert_array_equal(tree.predict(rows), tree.predict(merged))


def test_columns_of_another_encoding_are_taken_from_it(rows: pd.DataFrame) -> None:
    before = merge_values(rows)
    wider = rows.assign(other=rows["even"][::-1].to_numpy())
    pd.testing.assert_frame_equal(merge_values(wider, before), merge_values(wider))
    unchanged = rows[["few", "identifier"]]
    assert merge_values(unchanged, before) is unchanged

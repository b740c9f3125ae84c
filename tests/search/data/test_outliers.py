"""Rows that should perhaps not be learned from."""

import numpy as np
import pandas as pd
import pytest
from made import make_dataset

from search.data.outliers import extreme_target_notes, footer_notes

REGIONS = [*"abcdefghijkl"]


def sales() -> pd.DataFrame:
    return pd.DataFrame({"region": REGIONS, "sold": range(12), "price": np.arange(12) * 1.5})


@pytest.mark.parametrize(
    ("footer", "says"),
    [
        ({"region": "Total", "sold": 66, "price": 99.0}, "'Total' in column 'region'"),
        ({"region": "Grand total:", "sold": 66}, "'Grand total:' in column 'region'"),
        ({"region": "Summe", "price": 8.25}, "'Summe' in column 'region'"),
        ({"sold": 66, "price": 99.0}, "sums of the rows above"),
        ({"region": "all", "sold": 66, "price": 8.25}, "sums of the rows above"),
    ],
)
def test_footers_are_pointed_out(footer: dict[str, object], says: str) -> None:
    table = pd.concat([sales(), pd.DataFrame([footer])], ignore_index=True)
    assert list(footer_notes(table)) == [
        f"row 13 looks like a footer ({says}): if it is one, remove it"
    ]


def test_several_footers_are_pointed_out() -> None:
    rows = [{"region": "Total", "sold": 66}, {"region": "Average", "sold": 5.5}]
    table = pd.concat([sales(), pd.DataFrame(rows)], ignore_index=True)
    assert [note[:6] for note in footer_notes(table)] == ["row 13", "row 14"]


@pytest.mark.parametrize(
    "table",
    [
        sales(),
        sales().assign(region=["total", "sum"] * 6),
        pd.DataFrame({"flag": [0] * 10 + [1, 1], "name": "x"}),
        pd.DataFrame({"zero": [0] * 12}),
        pd.DataFrame({"x": ["Total"]}),
    ],
)
def test_ordinary_last_rows_are_not_pointed_out(table: pd.DataFrame) -> None:
    assert list(footer_notes(table)) == []


NORMAL = np.random.default_rng(0).normal(size=500)


@pytest.mark.parametrize(
    ("extreme", "says"),
    [
        ([1e6], "comes from 1 of 501 rows, such as 1e+06 in row 501"),
        ([-999] * 4, "comes from 4 of 504 rows, such as -999 in row 504"),
        ([1e6, 2e6, 5e5], "comes from 3 of 503 rows, such as 2e+06 in row 502"),
        ([NORMAL.sum() * 50], "comes from 1 of 501 rows"),
    ],
)
def test_a_few_targets_far_from_the_rest_are_pointed_out(extreme: list[float], says: str) -> None:
    (note,) = extreme_target_notes(pd.Series([*NORMAL, *extreme], name="y"))
    assert says in note
    assert "of the variance of the target 'y'" in note


@pytest.mark.parametrize(
    "target",
    [
        NORMAL,
        np.exp(NORMAL),
        np.exp(2 * NORMAL),
        np.repeat([0, 1.5, 3], [480, 10, 10]),
        np.arange(100),
        [1, 2, 1e9],
    ],
    ids=["normal", "skewed", "very skewed", "mostly zero", "uniform", "few"],
)
def test_ordinary_targets_are_not_pointed_out(target: list[float]) -> None:
    assert list(extreme_target_notes(pd.Series(target, name="y"))) == []


def test_such_rows_are_noted_by_their_rows_of_the_table() -> None:
    table = pd.DataFrame({"name": ["a", "b"] * 30, "y": np.arange(60) * 0.5})
    table.loc[[3, 8], "y"] = np.nan
    footer = pd.DataFrame({"name": ["Total"], "y": [1e5]})
    notes = make_dataset("t", "y", table=pd.concat([table, footer], ignore_index=True)).notes
    assert any("row 61 looks like a footer" in note for note in notes)
    assert any("such as 100000 in row 61" in note for note in notes)

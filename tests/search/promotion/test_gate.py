"""The gate's statistics."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.errors import UsageError
from search.forest.metrics import METRICS
from search.promotion.gate import beats, compare, judge, misses, read_requirement

RMSE, MAE, R2, AUC = (METRICS[name] for name in ("rmse", "mae", "r2", "roc_auc"))


@st.composite
def regressions(draw: st.DrawFn) -> Any:
    """A target and two forecasts of it."""
    n = draw(st.integers(10, 60))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    y = random.normal(size=n)
    spread = [draw(st.floats(0.01, 2)) for _ in range(2)]
    first, second = (y + random.normal(scale=s, size=n) for s in spread)
    return y, first, second


@settings(max_examples=25)
@given(regressions(), st.sampled_from([RMSE, MAE, R2]))
def test_who_is_compared_with_itself_shows_no_difference(data: Any, metric: Any) -> None:
    y, first, _ = data
    same = compare(metric, y, first, first)
    assert (same.low, same.high, same.worse_by) == (0, 0, (0, 0, 0))
    assert judge(same).passed
    assert judge(same).text == "no difference shown"
    assert not judge(same, strict=True).passed
    assert not beats(same).passed


@settings(max_examples=25)
@given(regressions(), st.sampled_from([RMSE, MAE, R2]))
def test_with_the_two_exchanged_the_interval_is_mirrored(data: Any, metric: Any) -> None:
    y, first, second = data
    there, back = compare(metric, y, first, second), compare(metric, y, second, first)
    assert there.low == pytest.approx(-back.high)
    assert there.high == pytest.approx(-back.low)
    assert (there.candidate, there.incumbent) == (back.incumbent, back.candidate)
    shown = {judge(there).text, judge(back).text}
    assert shown in ({"shown to be worse", "shown to be better"}, {"no difference shown"})


@settings(max_examples=25)
@given(regressions(), st.floats(0.1, 1000))
def test_units_change_nothing(data: Any, scale: float) -> None:
    y, first, second = data
    plain = compare(RMSE, y, first, second)
    scaled = compare(RMSE, scale * y, scale * first, scale * second)
    assert scaled.low == pytest.approx(scale * plain.low, rel=1e-6, abs=1e-12)
    assert judge(scaled, 0.1).passed == judge(plain, 0.1).passed


@settings(max_examples=25)
@given(regressions())
def test_who_is_worse_on_every_row_is_refused_and_its_rival_passes(data: Any) -> None:
    y, first, _ = data
    worse = first + np.sign(first - y) * 0.5
    assert not judge(compare(MAE, y, worse, first)).passed
    assert judge(compare(MAE, y, first, worse), strict=True).passed


@settings(max_examples=25)
@given(regressions(), st.floats(0, 0.5), st.floats(0, 0.5))
def test_more_tolerance_never_refuses_more(data: Any, one: float, other: float) -> None:
    comparison = compare(RMSE, *data)
    less, more = sorted((one, other))
    assert judge(comparison, more).passed >= judge(comparison, less).passed


def test_the_interval_holds_the_difference_about_as_often_as_it_says() -> None:
    random, held, rounds = np.random.default_rng(0), 0, 200
    for _ in range(rounds):
        y = random.normal(size=100)
        first, second = y + random.normal(size=100), y + random.normal(scale=1.3, size=100)
        found = compare(METRICS["mse"], y, first, second)
        held += found.low <= 1 - 1.3**2 <= found.high
    assert 0.88 <= held / rounds <= 0.99


def test_rows_that_belong_together_are_drawn_together() -> None:
    random = np.random.default_rng(0)
    y = random.normal(size=20)
    first, second = y + random.normal(size=20), y + random.normal(size=20)
    once = compare(RMSE, y, first, second)
    repeated = [np.repeat(values, 10) for values in (y, first, second)]
    apart = compare(RMSE, *repeated)
    together = compare(RMSE, *repeated, units=np.repeat(np.arange(20), 10))
    assert apart.high - apart.low < 0.5 * (once.high - once.low)
    assert together.high - together.low == pytest.approx(once.high - once.low, rel=0.15)


def test_of_a_handful_of_groups_nothing_is_told() -> None:
    """Two that are alike all point one way in half of the cases."""
    y, units = np.zeros(60), np.arange(60) % 5
    better, worse = np.zeros(60), np.ones(60)
    few = compare(RMSE, y, worse, better, units=units)
    assert np.isnan(few.low)
    assert "too few" in judge(few).text
    assert not judge(few, strict=True).passed
    assert not judge(compare(RMSE, y, worse, better, units=np.arange(60) % 6)).passed


def test_weights_weigh() -> None:
    y, first, second = np.zeros(20), np.full(20, 1.0), np.tile([0.0, 3.0], 10)
    assert compare(MAE, y, first, second).incumbent == 1.5
    weighted = compare(MAE, y, first, second, weights=np.tile([1.0, 0.0], 10))
    assert (weighted.candidate, weighted.incumbent) == (1, 0)
    assert not judge(weighted).passed


def test_rows_without_weight_are_no_evidence() -> None:
    y, weights = np.zeros(60), (np.arange(60) < 5).astype(float)
    few = compare(METRICS["mae"], y, np.ones(60), np.zeros(60), weights=weights)
    assert np.isnan(few.low)
    assert "too few" in judge(few).text


def test_where_the_score_is_hardly_ever_defined_the_interval_says_nothing() -> None:
    y = np.array([1] + [0] * 11)
    p = np.tile([0.5, 0.5], (12, 1))
    p[0] = [0.1, 0.9]
    rare = compare(AUC, y, p, p[::-1].copy())
    assert np.isfinite(rare.low)
    never = compare(AUC, np.zeros(12, dtype=int), p, p)
    assert np.isnan(never.low)
    assert judge(never).passed
    assert not judge(never, strict=True).passed
    assert "too few rows" in judge(never).text


def test_a_required_score_is_read_and_kept() -> None:
    metric, bound = read_requirement("neg_root_mean_squared_error=60", "regression")
    assert (metric.name, bound) == ("rmse", 60)
    assert misses(metric, bound, 60.0) is None
    assert misses(metric, bound, 61.0) == "rmse is 61, required is at most 60"
    assert misses(R2, 0.5, 0.4) == "r2 is 0.4, required is at least 0.5"
    assert misses(R2, 0.5, float("nan")) is not None


@pytest.mark.parametrize(
    "text", ["rmse", "rmse=", "rmse=low", "=3", "rsme=3", "accuracy=1", "rmse=nan"]
)
def test_a_requirement_that_cannot_be_meant_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        read_requirement(text, "regression")

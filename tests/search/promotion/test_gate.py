"""The gate's statistics."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.errors import UsageError
from search.forest.metrics import METRICS
from search.promotion.gate import (
    compare,
    judge,
    judge_against_constant,
    parse_requirement,
    unmet_requirement,
)

RMSE, MAE, R2, AUC = (METRICS[name] for name in ("rmse", "mae", "r2", "roc_auc"))


@st.composite
def regressions(draw: st.DrawFn) -> Any:
    """Draw a target and two forecasts of it."""
    n = draw(st.integers(10, 60))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    y = random.normal(size=n)
    spread = [draw(st.floats(0.01, 2)) for _ in range(2)]
    first, second = (y + random.normal(scale=s, size=n) for s in spread)
    return y, first, second


@settings(max_examples=10)  # each draws many bootstrap samples
@given(regressions(), st.sampled_from([RMSE, MAE, R2]))
def test_a_model_compared_with_itself_shows_no_difference(data: Any, metric: Any) -> None:
    y, first, _ = data
    same = compare(metric, y, first, first)
    assert (same.low, same.high, same.worse_by) == (0, 0, (0, 0, 0))
    assert judge(same).passed
    assert judge(same).text == "no difference shown"
    assert not judge(same, strict=True).passed
    assert not judge_against_constant(same).passed


@settings(max_examples=10)  # each draws many bootstrap samples
@given(regressions(), st.sampled_from([RMSE, MAE, R2]))
def test_exchanging_the_models_mirrors_the_interval(data: Any, metric: Any) -> None:
    y, first, second = data
    forward, backward = compare(metric, y, first, second), compare(metric, y, second, first)
    assert forward.low == pytest.approx(-backward.high)
    assert forward.high == pytest.approx(-backward.low)
    assert (forward.candidate, forward.incumbent) == (backward.incumbent, backward.candidate)
    verdicts = {judge(forward).text, judge(backward).text}
    assert verdicts in ({"shown to be worse", "shown to be better"}, {"no difference shown"})


@settings(max_examples=10)  # each draws many bootstrap samples
@given(regressions(), st.floats(0.1, 1000))
def test_the_scale_of_the_target_does_not_matter(data: Any, scale: float) -> None:
    y, first, second = data
    plain = compare(RMSE, y, first, second)
    scaled = compare(RMSE, scale * y, scale * first, scale * second)
    assert scaled.low == pytest.approx(scale * plain.low, rel=1e-6, abs=1e-12)
    assert judge(scaled, 0.1).passed == judge(plain, 0.1).passed


@settings(max_examples=10)  # each draws many bootstrap samples
@given(regressions())
def test_a_model_that_is_worse_on_every_row_is_refused(data: Any) -> None:
    y, first, _ = data
    worse = first + np.sign(first - y) * 0.5
    assert not judge(compare(MAE, y, worse, first)).passed
    assert judge(compare(MAE, y, first, worse), strict=True).passed


@settings(max_examples=10)  # each draws many bootstrap samples
@given(regressions(), st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_larger_tolerance_never_refuses_more(data: Any, one: float, other: float) -> None:
    comparison = compare(RMSE, *data)
    less, more = sorted((one, other))
    assert judge(comparison, more).passed >= judge(comparison, less).passed


@pytest.mark.slow
def test_the_interval_covers_the_true_difference_at_about_its_level() -> None:
    random, covered, rounds = np.random.default_rng(0), 0, 100
    for _ in range(rounds):
        y = random.normal(size=100)
        first, second = y + random.normal(size=100), y + random.normal(scale=1.3, size=100)
        found = compare(METRICS["mse"], y, first, second)
        covered += found.low <= 1 - 1.3**2 <= found.high
    assert 0.88 <= covered / rounds <= 0.99


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


def test_there_is_no_interval_with_fewer_than_six_units() -> None:
    y, units = np.zeros(60), np.arange(60) % 5
    better, worse = np.zeros(60), np.ones(60)
    few = compare(RMSE, y, worse, better, units=units)
    assert np.isnan(few.low)
    assert "too few" in judge(few).text
    assert not judge(few, strict=True).passed
    assert not judge(compare(RMSE, y, worse, better, units=np.arange(60) % 6)).passed


def test_scores_use_row_weights() -> None:
    y, first, second = np.zeros(20), np.full(20, 1.0), np.tile([0.0, 3.0], 10)
    assert compare(MAE, y, first, second).incumbent == 1.5
    weighted = compare(MAE, y, first, second, weights=np.tile([1.0, 0.0], 10))
    assert (weighted.candidate, weighted.incumbent) == (1, 0)
    assert not judge(weighted).passed


def test_rows_of_weight_zero_do_not_count_as_units() -> None:
    y, weights = np.zeros(60), (np.arange(60) < 5).astype(float)
    few = compare(METRICS["mae"], y, np.ones(60), np.zeros(60), weights=weights)
    assert np.isnan(few.low)
    assert "too few" in judge(few).text


def test_there_is_no_interval_if_the_score_is_defined_on_few_draws() -> None:
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


def test_requirements_are_parsed_and_checked() -> None:
    metric, bound = parse_requirement("neg_root_mean_squared_error=60", "regression")
    assert (metric.name, bound) == ("rmse", 60)
    assert unmet_requirement(metric, bound, 60.0) is None
    assert unmet_requirement(metric, bound, 61.0) == "rmse is 61, but must be at most 60"
    assert unmet_requirement(R2, 0.5, 0.4) == "r2 is 0.4, but must be at least 0.5"
    assert unmet_requirement(R2, 0.5, float("nan")) is not None


@pytest.mark.parametrize(
    "text", ["rmse", "rmse=", "rmse=low", "=3", "rsme=3", "accuracy=1", "rmse=nan"]
)
def test_an_invalid_requirement_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_requirement(text, "regression")

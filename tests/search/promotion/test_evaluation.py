"""The constant forecast that a first candidate must beat."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from search.forest.metrics import METRICS
from search.promotion.evaluation import _constant_forecast


@pytest.mark.parametrize(
    ("weights", "best"), [(None, 10.0), (np.r_[np.full(70, 0.1), np.ones(30)], 0.0)]
)
def test_the_constant_forecast_for_absolute_errors_is_the_weighted_median(
    weights: Any, best: float
) -> None:
    y = np.r_[np.full(70, 10.0), np.zeros(30)]
    rows: Any = SimpleNamespace(y=y, held_out_y=y, classes=None, weights=weights)
    assert set(_constant_forecast(rows, METRICS["mae"])) == {best}

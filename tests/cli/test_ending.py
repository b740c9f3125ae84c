"""What is printed when a study has ended."""

from typing import Any

import pytest

from search.cli.ending import print_ending


def summary(best: int) -> dict[str, Any]:
    return {
        "study": "houses",
        "state": "stopped",
        "metric": "rmse",
        "trials": {"complete": 40, "pruned": 2, "failed": 0},
        "best": {"number": best, "value": 1.5, "params": {"max_features": 0.5}},
        "champion": {"trial": 12, "trees": 100},
        "holdout": {"rmse": 2.5},
        "model": {"name": "houses", "version": 1},
        "evaluation": "out-of-bag",
        "mlflow": {"view": None},
    }


def test_scores_and_model_are_of_the_best_or_it_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    print_ending(summary(12), registered=True)
    said = capsys.readouterr().out
    assert "hold-out: rmse 2.5" in said
    assert "promote it: grovekeeper promote houses --to Staging" in said
    print_ending(summary(40), registered=True)
    said = capsys.readouterr().out
    assert "best: trial 40" in said
    assert "the champion is still trial 12's: the same launch makes the new one" in said
    assert "hold-out" not in said
    assert "registered" not in said

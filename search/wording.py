"""How values, hyperparameters and scores are written in a line, wherever people read them."""

from collections.abc import Mapping
from typing import Any


def written(value: Any) -> Any:
    """Return a hyperparameter as a file of options has it: TOML has no null."""
    return "none" if value is None else value


def short(value: Any) -> str:
    """Write a value with at most four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(written(value))


def params_listed(params: Mapping[str, Any]) -> str:
    """Write hyperparameters in a line."""
    return ", ".join(f"{name} {short(value)}" for name, value in params.items())


def scores_listed(scores: Mapping[str, float]) -> str:
    """Write scores in a line, with five digits."""
    return ", ".join(f"{name} {value:.5g}" for name, value in scores.items())


def code(text: object) -> str:
    """Write a name as code in Markdown: in one line, whatever it holds."""
    return "`" + " ".join(str(text).replace("`", "'").split()) + "`"

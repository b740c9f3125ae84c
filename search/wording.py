"""How values, hyperparameters and scores are written in a line, wherever people read them."""

from collections.abc import Mapping
from typing import Any

_UNITS = ("bytes", "kB", "MB", "GB", "TB")
# What three digits would round to a thousand.
_NEXT_UNIT = 999.5


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


def size(n_bytes: float) -> str:
    """Write a number of bytes for people."""
    unit = 0
    while n_bytes >= _NEXT_UNIT and unit < len(_UNITS) - 1:
        n_bytes, unit = n_bytes / 1000, unit + 1
    return f"{n_bytes:.3g} {_UNITS[unit]}"

"""Formats names, hyperparameters, scores and sizes for display."""

import re
from collections.abc import Mapping
from typing import Any

# Control characters, except tab and newline, and Unicode marks of text direction.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)
_MOST_IN_CODE = 500
_UNITS = ("bytes", "kB", "MB", "GB", "TB")
# Three significant digits of a larger number can round to 1000, so the next unit is used.
_NEXT_UNIT = 999.5


def visible(text: str) -> str:
    """Escape control characters and direction marks, which names from outside may contain.

    JSON and TOML parsers turn the escapes back into the characters.
    """
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def shorten(text: str, length: int = 40) -> str:
    """Return a text with at most so many characters, for a message."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def written(value: Any) -> Any:
    """Return a hyperparameter's value for TOML, which has no null: "none" for ``None``."""
    return "none" if value is None else value


def short(value: Any) -> str:
    """Format a value with at most four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(written(value))


def params_listed(params: Mapping[str, Any]) -> str:
    """Format hyperparameters on one line."""
    return ", ".join(f"{name} {short(value)}" for name, value in params.items())


def scores_listed(scores: Mapping[str, float]) -> str:
    """Format scores on one line, with five significant digits."""
    return ", ".join(f"{name} {value:.5g}" for name, value in scores.items())


def code(text: object) -> str:
    """Format a name as inline code in Markdown: on one line, and shortened if it is long."""
    line = visible(" ".join(str(text).replace("`", "'").split()))
    return f"`{line if len(line) <= _MOST_IN_CODE else line[: _MOST_IN_CODE - 1] + '…'}`"


def of_trial(champion: int | None, best: int | None) -> str:
    """Name the trial of a champion if it is not the best trial; otherwise return nothing."""
    return "" if champion is None or best in {None, champion} else f" (of trial {champion})"


def runs_behind(n: int) -> str:
    """Format the number of runs that MLflow lacks."""
    return f"{n} run{'' if n == 1 else 's'} behind"


def size(n_bytes: float) -> str:
    """Format a number of bytes with a decimal unit."""
    unit = 0
    while n_bytes >= _NEXT_UNIT and unit < len(_UNITS) - 1:
        n_bytes, unit = n_bytes / 1000, unit + 1
    return f"{n_bytes:.3g} {_UNITS[unit]}"

"""How values, hyperparameters and scores are written in a line, wherever people read them."""

import re
from collections.abc import Mapping
from typing import Any

# What steers a terminal or turns the direction of writing; lines and tabs may stay.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)
_MOST_IN_CODE = 500
_UNITS = ("bytes", "kB", "MB", "GB", "TB")
# What three digits would round to a thousand.
_NEXT_UNIT = 999.5


def visible(text: str) -> str:
    """Write control characters and marks of direction as their escapes: names come from anywhere.

    JSON and TOML read an escape as the character again.
    """
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


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
    """Write a name as code in Markdown: in one line, whatever it holds, and not without end."""
    line = visible(" ".join(str(text).replace("`", "'").split()))
    return f"`{line if len(line) <= _MOST_IN_CODE else line[: _MOST_IN_CODE - 1] + '…'}`"


def of_trial(champion: int | None, best: int | None) -> str:
    """Name the trial of a champion if it is not the best trial; otherwise return nothing."""
    return "" if champion is None or best in {None, champion} else f" (of trial {champion})"


def runs_behind(n: int) -> str:
    """Say how far MLflow is behind."""
    return f"{n} run{'' if n == 1 else 's'} behind"


def size(n_bytes: float) -> str:
    """Write a number of bytes for people."""
    unit = 0
    while n_bytes >= _NEXT_UNIT and unit < len(_UNITS) - 1:
        n_bytes, unit = n_bytes / 1000, unit + 1
    return f"{n_bytes:.3g} {_UNITS[unit]}"


def drawn(text: str) -> str:
    """Write a name for matplotlib, which takes what stands between dollars for a formula."""
    return visible(text).replace("$", r"\$")

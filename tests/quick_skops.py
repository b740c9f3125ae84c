"""Writes skops's JSON without indentation.

Python has no C code for indented JSON, and writing it takes half of the time to save a small model.
"""

import json
from types import SimpleNamespace
from typing import Any


def write_compact_json() -> None:
    """Let skops write compact JSON in this process."""
    from skops.io import _persist

    def dumps(state: Any, **_: Any) -> str:
        return json.dumps(state)

    _persist.json = SimpleNamespace(dumps=dumps)  # type: ignore[assignment]

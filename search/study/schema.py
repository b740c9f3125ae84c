"""Descriptions of a study's options, read from the JSON Schema that `StudySpec` generates.

`docs/schema.py` writes the schema. Reading it takes less than a millisecond; importing
`StudySpec`, which builds a pydantic model, would slow down the help of the command line.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

SCHEMA = Path(__file__).with_name("study.schema.json")


@cache
def option_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of every option, by the name that files and flags use."""
    properties: dict[str, dict[str, Any]] = json.loads(SCHEMA.read_text("utf-8"))["properties"]
    return properties


def description(name: str) -> str:
    """Return the description of an option, followed by its default value if it has one."""
    about = option_schemas()[name]
    default = about.get("default")
    if isinstance(default, bool) or default in (None, "", {}, []):
        return str(about["description"])
    return f"{about['description']} Default: {default}."

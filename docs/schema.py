"""Writes search/study/study.schema.json, the JSON Schema of configuration files, for editors.

python docs/schema.py
"""

import json
from typing import Any

from grovekeeper import StudySpec
from search.study.schema import SCHEMA


def schema() -> dict[str, Any]:
    """Return the JSON Schema of `StudySpec`, titled as a configuration file."""
    made = StudySpec.model_json_schema()
    head = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Configuration file of grovekeeper launch",
    }
    return head | {
        key: made[key] for key in ("$defs", "additionalProperties", "properties", "type")
    }


if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(SCHEMA)

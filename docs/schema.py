"""Writes search/study/study.schema.json: what a file of options may hold, for editors.

python docs/schema.py
"""

import json
import re
from typing import Any

from grovekeeper import StudySpec
from search.study.config_template import SCHEMA


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a file of options, each described as `StudySpec` describes it."""
    made = StudySpec.model_json_schema()
    text = made.pop("description").partition("----------\n")[2]
    for names, about in re.findall(r"^(\S[^\n]*)\n((?:    [^\n]*\n?)+)", text, re.MULTILINE):
        for name in names.split(", "):
            if name in made["properties"]:
                made["properties"][name]["description"] = " ".join(about.split())
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A file of options for grovekeeper launch",
    } | {key: value for key, value in made.items() if key != "title"}


if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(SCHEMA)

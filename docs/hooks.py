"""What MkDocs calls as it builds the site: pages made from the code, and formulas as MathML.

mkdocs build
"""

import html
import json
import re
import subprocess
import sys
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from search.study.config_template import SCHEMA

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code."""
    for name, text in (("command-line", command_line()), ("options", options())):
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def on_page_content(content: str, **_: Any) -> str:
    """Replace formulas, which arithmatex has marked, by MathML: browsers need no script for it."""
    return _FORMULA.sub(
        lambda found: convert(
            html.unescape(found[3]).strip(), display="block" if found[2] == "[" else "inline"
        ),
        content,
    )


def command_line() -> str:
    """Describe every command, as Typer does."""
    typer = [sys.executable, "-m", "typer", "search.cli.app", "utils", "docs"]
    named = [*typer, "--name", "grovekeeper", "--title", "Command line"]
    return subprocess.run(named, check=True, capture_output=True, text=True).stdout  # noqa: S603


def options() -> str:
    """List what a file of options may hold, as its JSON Schema says."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    rows = [
        f"| `{name}` | {_values(about)} | {_default(about)} "
        f"| {about['description'].replace('``', '`')} |"
        for name, about in schema["properties"].items()
    ]
    return "\n".join([_OPTIONS, *rows, ""])


def _default(about: dict[str, Any]) -> str:
    """Write a default as TOML has it; where there is none, the description tells what happens."""
    return "" if about["default"] in (None, "") else f"`{json.dumps(about['default'])}`"


def _values(about: dict[str, Any]) -> str:
    if "anyOf" in about:
        kinds = [kind for kind in about["anyOf"] if kind.get("type") != "null"]
        return " or ".join(_values(kind) for kind in kinds)
    return ", ".join(f"`{value}`" for value in about.get("enum", ())) or _bounded(about)


def _bounded(kind: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {kind[name]:,}" for name, sign in signs.items() if name in kind]
    return " ".join([f"`{kind['const']}`" if "const" in kind else kind["type"], ", ".join(bounds)])


_OPTIONS = """\
# The file of options

`launch --config FILE` reads a TOML file. Each key is the
[`launch`](command-line.md#grovekeeper-launch) option of the same name; an option on the command
line overrides it. `space` can only be given in the file
([Search space](../how-to/data.md#what-is-searched)). `grovekeeper init TABLE` writes such a file,
with a comment for each option. Editors can validate it with the JSON Schema
`search/study/study.schema.json`, from which this table is generated.

| key | values | default | description |
|---|---|---|---|"""

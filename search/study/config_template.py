"""The commented configuration file that `init` writes after reading a table."""

from collections.abc import Iterator
from contextlib import suppress
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from search.data.addresses import PIPED, TableAddress
from search.data.dataset import Dataset, load_dataset
from search.data.description import DataDescription
from search.data.hints import column_hints
from search.data.missing import NOTES
from search.data.numbers import read_numbers
from search.data.roles import check_column
from search.data.table import read_table
from search.data.target import (
    detect_task,
    infer_target_type,
    list_classes,
    rows_with_target,
    similar_classes,
)
from search.data.text_format import TextFormat
from search.errors import DataError, UsageError
from search.forest.metrics import names_for
from search.study.config_export import space_lines, toml_value
from search.study.schema import SCHEMA, option_schemas
from search.study.search_space import make_space
from search.study.spec import StudySpec
from search.types import Task

if TYPE_CHECKING:
    import pandas as pd

_MOST_COLUMNS = 200
_WIDTH = 40
_LINE_LENGTH = 100


def config_template(
    source: str, target: str | None, file: str, query: str | None = None, *, header: bool = True
) -> str:
    """Return the text of a configuration file for a table, with every option and its default.

    Parameters
    ----------
    source, query
        The table, as `read_table` takes it. Passwords and signatures are not written.
    target
        Default: the last column.
    file
        Path of the configuration file, which the text mentions.
    header
        Whether the first row of a CSV or TSV file holds the names of the columns.

    Raises
    ------
    UsageError, DataError
        If the table cannot be read or has no such column.
    """
    address = TableAddress(source)
    table = read_table(source, query, text=TextFormat(header=header))
    hints: tuple[str, ...] = table.attrs.get(NOTES, ())
    with suppress(DataError):  # `launch` says what to choose
        hints += read_numbers(table).notes
    column = str(table.columns[-1]) if target is None else target
    check_column(table, column, "target")
    values = infer_target_type(table[column][rows_with_target(table, column)])
    task = detect_task(values)
    other: Task = "regression" if task == "classification" else "classification"
    first, *rest = names_for(task)
    rows = round(len(table) * (1 - StudySpec.model_fields["holdout"].default))
    space = make_space(task, rows, table.shape[1] - 1, {})
    name = address.study_name
    given: dict[str, Any] = {
        "data": source if source == PIPED else address.redacted,
        "target": column,
    }
    given |= {"query": query} if query is not None else {}
    given |= {} if header else {"header": header}
    examples = {"task": task, "metric": first, "study": name, "experiment": name, "model": name}
    comments = {
        "task": f'or "{other}"',
        "metric": f"or {', '.join(rest)}, or another scorer of scikit-learn",
    }
    dataset, classes = _dataset(table, column), list[str]()
    if dataset is not None and dataset.classes is not None:
        counts, positive = dataset.class_counts, dataset.description.positive
        classes = ["#", f"# Classes of {_line(column)}: {_line(list_classes(counts, positive))}"]
        hints += tuple(similar_classes(counts))
        if positive is not None:
            (other_class,) = set(counts) - {positive}
            examples |= {"positive": positive}
            comments |= {"positive": f"or {toml_value(other_class)}"}
    hints += () if dataset is None else column_hints(dataset)
    lines = [
        f"#:schema {SCHEMA.as_uri()}",
        f"# A study of {_line(address.redacted)}: {len(table):,} rows, {table.shape[1]} columns.",
        f"# Start it with: grovekeeper launch --config {_line(file)}",
        '# Options that begin with "# " show a default or an example: remove the "# " to set them.',
        "#",
        "# The columns:",
        *_listed(table),
        *classes,
        *(["#", "# Hints:", *(f"#   {_line(hint)}" for hint in hints)] if hints else []),
    ]
    for option, about in option_schemas().items():
        lines += ["", *_comment(about["description"])]
        if option == "space":
            lines += [
                "# Also available: max_depth, criterion; encoding, if the table has categories.",
                "[space]",
            ]
            lines += [f"# {line}" for line in space_lines(space)]
        elif option in given:
            lines.append(f"{option} = {toml_value(given[option])}")
        else:
            value = examples.get(option, about.get("examples", [about["default"]])[0])
            comment = f"  # {comments[option]}" if option in comments else ""
            lines.append(f"# {option} = {toml_value(value)}{comment}")
    return "\n".join([*lines, ""])


def _listed(table: "pd.DataFrame") -> Iterator[str]:
    for name in table.columns[:_MOST_COLUMNS]:
        column = table[name]
        missing = int(column.isna().sum())
        about = str(column.dtype)
        with suppress(TypeError):  # values such as lists, which `launch` refuses
            values = column.nunique()
            about += f", {values:,} value{'' if values == 1 else 's'}"
        about += f", {missing:,} missing" if missing else ""
        label = _line(str(name))
        label = label if len(label) <= _WIDTH else label[: _WIDTH - 1] + "…"
        yield f"#   {label:{_WIDTH}} {about}"
    if table.shape[1] > _MOST_COLUMNS:
        yield f"#   … and {table.shape[1] - _MOST_COLUMNS:,} more"


def _dataset(table: "pd.DataFrame", target: str) -> Dataset | None:
    description = DataDescription(source="", target=target, holdout=0.0)
    try:
        return load_dataset(description, table=table)
    except (DataError, UsageError):  # `launch` refuses the table, and says why
        return None


def _comment(text: str) -> list[str]:
    return [f"## {line}" for line in wrap(text, _LINE_LENGTH - 3, break_on_hyphens=False)]


def _line(text: str) -> str:
    """Return the text as one line of printable characters, for a comment."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())

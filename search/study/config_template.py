"""A table looked at, and a commented file of options for a study on it: what `init` writes."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from search.data.addresses import PIPED, default_name, shown
from search.data.roles import check_column
from search.data.table import read_table
from search.data.target import detect_task, plain_target, rows_with_target
from search.forest.metrics import names_for
from search.formatting import visible
from search.study.config_export import space_lines
from search.study.search_space import make_space
from search.study.spec import StudySpec
from search.types import Task

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = Path(__file__).with_name("study.schema.json")
_MOST_COLUMNS = 200
_WIDTH = 40

_DRAFT = Template("""\
#:schema $schema
# A study on $source: $rows rows, $columns columns. Start it with
#     grovekeeper launch --config $file
# What begins with "# " and a name is a default or an example; take the "# " away to change it.
#
# The columns:
$listed

data = $data
$query
# max_rows = 1000000  # rows of the table at most; more are an error
# max_bytes = "2GB"  # of the table in memory at most; default: a third of what is free
target = $target  # what is to be predicted: $guessed
# task = "$task"  # or "$other": told from the target
# metric = "$metric"  # or: $metrics, and scikit-learn's other scorers

# study = $name  # the study's name
# experiment = $name  # MLflow's experiment
# model = $name  # under which the champion is registered
# register = true

# trials = 50  # finished trials in all, over all launches
# timeout = 600  # seconds for the search; default: no limit
# workers = 2  # processes on this machine; default: one a core
# scheduler = "tcp://host:8786"  # grow on a Dask cluster instead
# detach = false  # run the coordinator on the cluster, too

# holdout = 0.2  # share of rows kept apart to judge the champion; 0 trains on every row
# trees = "auto"  # of the champion: as many as its error needs
# seed = 0

# weight = "column"  # the rows' weights
# group = "column"  # binds rows together (patients, customers): scored by folds
# time = "column"  # puts rows in order: scored on later ones
# evaluation = "auto"  # or "oob", "cv": out-of-bag votes, unless they would fool
# folds = 5

# What is searched: a value fixes it, a list are choices. Also: max_depth, criterion.
[space]
$space
""")


def draft(source: str, target: str | None, file: str, query: str | None = None) -> str:
    """Return the file's text.

    Parameters
    ----------
    source, query
        The table, as `read_table` takes it; no password or signature is written.
    target
        Default: the last column.
    file
        What it will be called.

    Raises
    ------
    UsageError, DataError
        When the table cannot be read, or has no such column.
    """
    table = read_table(source, query)
    column = str(table.columns[-1]) if target is None else target
    check_column(table, column, "target")
    task = detect_task(plain_target(table[column][rows_with_target(table, column)]))
    other: Task = "regression" if task == "classification" else "classification"
    first, *rest = names_for(task)
    rows = round(len(table) * (1 - StudySpec.model_fields["holdout"].default))
    space = make_space(task, rows, table.shape[1] - 1, {})
    return _DRAFT.substitute(
        schema=SCHEMA.as_uri(),
        source=_line(shown(source)),
        rows=f"{len(table):,}",
        columns=table.shape[1],
        file=_line(file),
        listed="\n".join(_listed(table)),
        data=_text(source if source == PIPED else shown(source)),
        query=_query(query),
        target=_text(column),
        guessed="the last column" if target is None else "as asked",
        task=task,
        other=other,
        metric=first,
        metrics=", ".join(rest),
        name=_text(default_name(source)),
        space="\n".join(f"# {line}" for line in space_lines(space)),
    )


def _query(query: str | None) -> str:
    if query is not None:
        return f"query = {_text(query)}"
    return '# query = "select * from houses order by id"  # where data is the address of a database'


def _listed(table: "pd.DataFrame") -> Iterator[str]:
    for name in table.columns[:_MOST_COLUMNS]:
        column = table[name]
        missing = int(column.isna().sum())
        about = str(column.dtype)
        with suppress(TypeError):  # of lists and the like, which launch refuses by name
            values = column.nunique()
            about += f", {values:,} value{'' if values == 1 else 's'}"
        about += f", {missing:,} missing" if missing else ""
        label = _line(str(name))
        label = label if len(label) <= _WIDTH else label[: _WIDTH - 1] + "…"
        yield f"#   {label:{_WIDTH}} {about}"
    if table.shape[1] > _MOST_COLUMNS:
        yield f"#   … and {table.shape[1] - _MOST_COLUMNS:,} more"


def _line(text: str) -> str:
    """Make a text fit for a comment: in one line, of what can be printed."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _text(value: str) -> str:
    """Write a text as TOML has it: as JSON does."""
    return visible(json.dumps(value, ensure_ascii=False))

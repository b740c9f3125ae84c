"""`grovekeeper init`: a commented file of options, written from a table."""

from pathlib import Path
from typing import Annotated

import typer

from search.cli.options import Query
from search.cli.output import echo
from search.errors import StudyError, UsageError


def init(
    data: Annotated[str, typer.Argument(help="The table, as launch takes it.")],
    target: Annotated[
        str | None, typer.Option(help="Column to predict; default: the last.", metavar="COLUMN")
    ] = None,
    query: Query = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Default: the data's name in this folder.", metavar="FILE.toml"
        ),
    ] = None,
) -> None:
    """Write a commented file of options for a table.

    It lists the table's columns and every option of launch with its default.

    Example: grovekeeper init houses.csv --target price -o houses.toml
    """
    from search.data.addresses import default_name
    from search.study.config_template import draft

    path = output or Path(f"{default_name(data)}.toml")
    if path.exists():
        raise UsageError(f"{path} is there already: name another file with --output")
    text = draft(data, target, str(path), query)
    try:
        path.write_bytes(text.encode())
    except UnicodeEncodeError:
        raise UsageError(f"--data {data!r} has a name that is no UTF-8: rename it") from None
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror}; name another file with --output"
        raise StudyError(msg) from error
    echo(str(path))

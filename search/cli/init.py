"""`grovekeeper init`: write a commented configuration file for a table."""

from pathlib import Path
from typing import Annotated

import typer

from search.cli.options import Header, Query, study_option
from search.cli.output import echo
from search.errors import StudyError, UsageError


def init(
    data: Annotated[str, typer.Argument(help="The table, as launch --data takes it.")],
    target: Annotated[str | None, study_option("target", "COLUMN")] = None,
    query: Query = None,
    header: Header = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write. Default: named after the data, in this folder.",
            metavar="FILE.toml",
        ),
    ] = None,
) -> None:
    """Write a commented configuration file for a table.

    It lists the columns of the table and all options of launch with their defaults.

    Example: grovekeeper init houses.csv --target price -o houses.toml
    """
    from search.data.addresses import TableAddress
    from search.study.config_template import config_template

    path = output or Path(f"{TableAddress(data).study_name}.toml")
    if path.exists():
        raise UsageError(f"{path} already exists: choose another file with --output")
    text = config_template(data, target, str(path), query, header=header is not False)
    try:
        path.write_bytes(text.encode())
    except UnicodeEncodeError:
        raise UsageError(f"the name of the table {data!r} is not valid UTF-8: rename it") from None
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror}; choose another file with --output"
        raise StudyError(msg) from error
    echo(str(path))

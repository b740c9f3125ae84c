"""`grovekeeper report`: write an HTML page on a study, its champion and its workers."""

import re
from pathlib import Path
from typing import Annotated

import typer

from search.cli.options import Json, globals_of
from search.cli.output import echo, print_json
from search.errors import StudyError, UsageError


def report(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help="Name of the study.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write. Default: STUDY.html in this folder.",
            metavar="FILE.html",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write a report on a study: one HTML page that needs no network.

    Example: grovekeeper report diabetes -o report.html
    """
    path = output or Path(f"{_file_name(study)}.html")
    if not path.parent.is_dir():
        raise UsageError(
            f"cannot write --output {path}: there is no folder {path.parent}; "
            "create it or choose another file"
        )
    if path.is_dir():
        raise UsageError(f"cannot write --output {path}: it is a folder; give the name of a file")
    from search.report import make_report
    from storage.studies.study import StudyBook

    opened = StudyBook(globals_of(context).storage).open(study)
    page = make_report(opened)
    try:
        path.write_text(page.html, encoding="utf-8")
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror}; choose another file with --output"
        raise StudyError(msg) from error
    if json:
        figures = [
            {"name": figure.name, "shown": figure.plot is not None, "text": figure.text}
            for figure in page.figures
        ]
        print_json({"study": study, "file": str(path), "figures": figures})
        return
    echo(str(path))


def _file_name(study: str) -> str:
    """Return a file name for a study, whose own name may hold any character."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", study).strip("-.")[:100] or "study"

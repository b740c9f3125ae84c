"""`grovekeeper report`: a study, its champion and its workers explained on one HTML page."""

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
            "--output", "-o", help="Default: STUDY.html in this folder.", metavar="FILE.html"
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
            "make it, or name another file"
        )
    if path.is_dir():
        raise UsageError(f"cannot write --output {path}: it is a folder; name a file in it")
    from search.report import make_report
    from storage.studies.study import StudyBook

    opened = StudyBook(globals_of(context).storage).open(study)
    page = make_report(opened)
    try:
        path.write_text(page.html, encoding="utf-8")
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror}; name another file with --output"
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
    """Name a file after a study, whoever named that."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", study).strip("-.")[:100] or "study"

"""`grovekeeper doctor`: whether a launch would find what it needs."""

from dataclasses import asdict
from typing import Annotated

import typer

from search.cli.options import Json, globals_of
from search.cli.output import echo, print_json


def doctor(
    context: typer.Context,
    scheduler: Annotated[
        str | None,
        typer.Option(
            envvar="DASK_SCHEDULER_ADDRESS", help="Look at this Dask cluster, too.", metavar="URL"
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Check stores, versions and scheduler, and say what to do.

    Changes nothing. Exit code 1 where a launch could not use what there is.

    Example: grovekeeper doctor
    """
    from search.service.doctor import check_up

    findings = check_up(globals_of(context).stores(), scheduler)
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            mark = "ok " if finding.fit else "BAD"
            echo(f"{mark}  {finding.name:{width}}  {' '.join(finding.text.split())}")
    if not all(finding.fit for finding in findings):
        raise typer.Exit(1)

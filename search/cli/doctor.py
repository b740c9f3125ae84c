"""`grovekeeper doctor`: check whether a launch would work."""

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
            envvar="DASK_SCHEDULER_ADDRESS", help="Check this Dask cluster, too.", metavar="URL"
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Check stores, versions and scheduler, and suggest fixes.

    Changes nothing. Exits with 1 if a launch would fail.

    Example: grovekeeper doctor
    """
    from search.service.doctor import run_checks

    results = run_checks(globals_of(context).stores(), scheduler)
    if json:
        print_json([asdict(result) for result in results])
    else:
        width = max(len(result.name) for result in results)
        for result in results:
            mark = "ok " if result.fit else "BAD"
            echo(f"{mark}  {result.name:{width}}  {' '.join(result.text.split())}")
    if not all(result.fit for result in results):
        raise typer.Exit(1)

"""`grovekeeper launch`: start a study, or continue it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.options import Header, Json, Query, globals_of, study_option
from search.cli.output import echo, print_json, print_result
from search.cli.signals import Stopped, StopSignals
from search.formatting import runs_behind
from search.study.schema import description, option_schemas

if TYPE_CHECKING:
    from search.report.summary import StudySummary


def launch(
    context: typer.Context,
    study: Annotated[
        str | None, typer.Argument(help=description("study"), show_default=False)
    ] = None,
    data: Annotated[str | None, study_option("data", "PATH|URL")] = None,
    query: Query = None,
    max_rows: Annotated[str | None, study_option("max_rows", "N")] = None,
    max_bytes: Annotated[str | None, study_option("max_bytes", "SIZE")] = None,
    target: Annotated[str | None, study_option("target", "COLUMN")] = None,
    task: Annotated[str | None, study_option("task", "TASK")] = None,
    metric: Annotated[str | None, study_option("metric", "NAME")] = None,
    weight: Annotated[str | None, study_option("weight", "COLUMN")] = None,
    group: Annotated[str | None, study_option("group", "COLUMN")] = None,
    time: Annotated[str | None, study_option("time", "COLUMN")] = None,
    drop: Annotated[list[str] | None, study_option("drop", "COLUMN")] = None,
    categorical: Annotated[list[str] | None, study_option("categorical", "COLUMN")] = None,
    positive: Annotated[str | None, study_option("positive", "CLASS")] = None,
    na: Annotated[list[str] | None, study_option("na", "WORD")] = None,
    decimal: Annotated[str | None, study_option("decimal", "MARK")] = None,
    thousands: Annotated[str | None, study_option("thousands", "MARK")] = None,
    dates: Annotated[str | None, study_option("dates", "day-first|month-first")] = None,
    header: Header = None,
    evaluation: Annotated[str | None, study_option("evaluation", "auto|oob|cv")] = None,
    folds: Annotated[str | None, study_option("folds", "N")] = None,
    trials: Annotated[str | None, study_option("trials", "N")] = None,
    timeout: Annotated[str | None, study_option("timeout", "SECONDS")] = None,
    workers: Annotated[str | None, study_option("workers", "N")] = None,
    scheduler: Annotated[str | None, study_option("scheduler", "URL")] = None,
    detach: Annotated[
        bool | None, typer.Option("--detach", help=description("detach"), show_default=False)
    ] = None,
    restore: Annotated[
        bool | None, typer.Option("--restore", help=description("restore"), show_default=False)
    ] = None,
    seed: Annotated[str | None, study_option("seed", "N")] = None,
    holdout: Annotated[str | None, study_option("holdout", "SHARE")] = None,
    trees: Annotated[str | None, study_option("trees", "N|auto")] = None,
    champion: Annotated[str | None, study_option("champion", "smallest|best")] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with values for these options and a [space] table.", metavar="FILE"
        ),
    ] = None,
    experiment: Annotated[str | None, study_option("experiment", "NAME")] = None,
    model: Annotated[str | None, study_option("model", "NAME")] = None,
    register: Annotated[
        bool | None,
        typer.Option("--register/--no-register", help=description("register"), show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Start a study, or continue it up to --trials.

    Example: grovekeeper launch houses --data houses.csv --target price --metric mae --trials 100
    """
    from search.study.spec import make_spec, read_config

    # All values are strings, because only the specification validates them. An option that was not
    # given is None or, if it can be repeated, empty, so that the configuration file can set it.
    given = {
        name: value
        for name, value in context.params.items()
        if name in option_schemas() and value not in (None, ())
    }
    file = read_config(config) if config else {}
    spec = make_spec(file | given)
    options = globals_of(context)
    from search.workers.factory import prepare

    prepare(spec)
    with StopSignals() as signals:
        if spec.detach:
            from search.service.detached import detach as run_there

            summary = run_there(spec)
        else:
            from search.service.launch import launch as run

            summary = run(spec, options.stores(), options.display, signals)
    if json:
        print_json(summary.model_dump())
    elif not options.quiet:
        if summary.state == "running":
            _print_begun(summary)
        else:
            print_result(summary, registered=spec.register_model)
    if summary.state == "running":  # detached: it continues without this process
        return
    if summary.state in {"interrupted", "stopped"} and not json:
        options.say(
            f"stopped; `grovekeeper launch {summary.study}` with the same options continues it"
        )
    if summary.state == "interrupted":
        raise Stopped(signals.number)
    if summary.mirror.behind:
        options.say(
            f"grovekeeper: MLflow is {runs_behind(summary.mirror.behind)}: "
            f"run `grovekeeper sync {summary.study}` to bring it up to date"
        )
        raise typer.Exit(1)


def _print_begun(summary: "StudySummary") -> None:
    """Print how to follow a study that runs on the cluster."""
    name, holder = summary.study, summary.lease
    echo(f"{name}: running" + (f" on {holder.host} (process {holder.pid})" if holder else ""))
    echo(f"watch it: grovekeeper watch {name}")
    if summary.mlflow.view:
        echo(f"look at it: {summary.mlflow.view}")
    echo(f"stop it: grovekeeper stop {name}")

"""`grovekeeper launch`: start a study, or go on with it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from search.cli.ending import print_ending
from search.cli.options import Json, Query, echo, globals_of, print_json
from search.cli.signals import Stopped, StopSignals
from search.formatting import runs_behind
from search.monitoring.display import Display


def launch(
    context: typer.Context,
    study: Annotated[
        str | None,
        typer.Argument(help="Name of the study; default: the data's.", show_default=False),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="CSV, TSV (also .gz) or Parquet: a file, a folder, an address, - for what is "
            "piped in; or a database. Default: diabetes.",
            metavar="PATH|URL",
        ),
    ] = None,
    query: Query = None,
    max_rows: Annotated[
        str | None, typer.Option(help="Rows of the table at most; more are an error.", metavar="N")
    ] = None,
    max_bytes: Annotated[
        str | None,
        typer.Option(
            help="Size of the table in memory at most; default: a third of what is free.",
            metavar="SIZE",
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Column to predict; default: the last.", metavar="COLUMN")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="regression or classification; default: as the target is."),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="Score to optimise; default: rmse, or brier for classes.")
    ] = None,
    weight: Annotated[
        str | None, typer.Option(help="Column of the rows' weights.", metavar="COLUMN")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(help="Column that binds rows together: scored by folds.", metavar="COLUMN"),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            help="Column that puts rows in order: scored on later ones.", metavar="COLUMN"
        ),
    ] = None,
    evaluation: Annotated[
        str | None,
        typer.Option(help="oob, cv, or auto: out-of-bag unless that would fool; default: auto."),
    ] = None,
    folds: Annotated[
        str | None, typer.Option(help="Number of folds; default: 5.", metavar="N")
    ] = None,
    trials: Annotated[
        str | None,
        typer.Option(help="Finished trials in all, over all launches; default: 50.", metavar="N"),
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(help="End the search after so many seconds.", metavar="SECONDS")
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(help="Worker processes on this machine; default: one a core.", metavar="N"),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="Grow on this Dask cluster; default: DASK_SCHEDULER_ADDRESS, else this machine.",
            metavar="URL",
        ),
    ] = None,
    detach: Annotated[
        bool | None,
        typer.Option(
            "--detach",
            help="Run the coordinator on the cluster, too, and return at once.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        str | None, typer.Option(help="Seed of all that is random; default: 0.", metavar="N")
    ] = None,
    holdout: Annotated[
        str | None,
        typer.Option(
            help="Share of rows kept apart to judge the champion; default: 0.2.", metavar="SHARE"
        ),
    ] = None,
    trees: Annotated[
        str | None,
        typer.Option(
            help="Trees of the champion; default: auto, as many as it needs.", metavar="N"
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file of these options and a [space].", metavar="FILE"),
    ] = None,
    experiment: Annotated[
        str | None, typer.Option(help="MLflow's experiment; default: the data's name.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Name to register under; default: the data's name.")
    ] = None,
    register: Annotated[
        bool | None,
        typer.Option("--register/--no-register", help="Register the champion.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Start a study, or go on with it up to --trials.

    Example: grovekeeper launch houses --data houses.csv --target price --metric mae --trials 100
    """
    from search.study.spec import make_spec, read_config

    # Numbers come as text: the specification is the one place where values are judged.
    flags = {
        "study": study,
        "data": data,
        "query": query,
        "max_rows": max_rows,
        "max_bytes": max_bytes,
        "target": target,
        "task": task,
        "metric": metric,
        "weight": weight,
        "group": group,
        "time": time,
        "evaluation": evaluation,
        "folds": folds,
        "trials": trials,
        "timeout": timeout,
        "workers": workers,
        "scheduler": scheduler,
        "detach": detach,
        "seed": seed,
        "holdout": holdout,
        "trees": trees,
        "experiment": experiment,
        "model": model,
        "register": register,
    }
    file = read_config(config) if config else {}
    spec = make_spec(file | {name: value for name, value in flags.items() if value is not None})
    options = globals_of(context)
    statistics = Display(quiet=options.quiet)
    from search.workers.factory import prepare

    prepare(spec)
    with StopSignals() as signals:
        if spec.detach:
            from search.service.detached import detach as run_there

            summary = run_there(spec, statistics)
        else:
            from search.service.launch import launch as run

            summary = run(spec, options.stores(), statistics, signals)
    if json:
        print_json(summary)
    elif not options.quiet:
        if summary["state"] == "running":
            _print_begun(summary)
        else:
            print_ending(summary, registered=spec.register_model)
    if summary["state"] == "running":  # where nobody waits for its end
        return
    if summary["state"] in {"interrupted", "stopped"} and not json:
        options.say(
            f"stopped; `grovekeeper launch {summary['study']}` with the same options goes on"
        )
    if summary["state"] == "interrupted":
        raise Stopped(signals.number)
    if summary["mirror"]["behind"]:
        options.say(
            f"grovekeeper: MLflow is {runs_behind(summary['mirror']['behind'])}: "
            f"`grovekeeper sync {summary['study']}` brings it level"
        )
        raise typer.Exit(1)


def _print_begun(summary: dict[str, Any]) -> None:
    """Print how to follow a study that runs without us."""
    name, holder = summary["study"], summary["lease"]
    echo(f"{name}: runs" + (f" on {holder['host']} (process {holder['pid']})" if holder else ""))
    echo(f"watch it: grovekeeper watch {name}")
    if summary["mlflow"]["view"]:
        echo(f"look at it: {summary['mlflow']['view']}")
    echo(f"stop it: grovekeeper stop {name}")

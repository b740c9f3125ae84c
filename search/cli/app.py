"""The application: all commands, and the one place that turns errors into exit codes."""

import gc
import sys
import warnings
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from search.cli import (
    best,
    compare,
    delete,
    doctor,
    history,
    init,
    launch,
    promote,
    report,
    reproduce,
    rollback,
    show,
    stop,
    studies,
    sync,
    ui,
    watch,
)
from search.cli.options import Globals
from search.cli.output import echo
from search.cli.signals import Stopped
from search.errors import SearchError, UsageError
from search.monitoring.display import Display
from search.stores import DEFAULT_STORAGE, DEFAULT_TRACKING_URI
from storage.errors import StorageError
from storage.redaction import cause_of, redact_text

_GC_THRESHOLD = 50_000
# Longer error lines are shortened: a crafted name must not hide the rest of the message.
_LONGEST_LINE = 2000

app = typer.Typer(
    name="grovekeeper",
    help="Hyperparameter search for random forests: Optuna proposes trials, Dask workers grow the "
    "trees, and MLflow shows the trials and keeps the best model.",
    epilog="Example: grovekeeper launch houses --data houses.csv --target price",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    pretty_exceptions_enable=False,
)
app.command()(init.init)
app.command()(launch.launch)
app.command()(stop.stop)
app.command()(studies.studies)
app.command()(show.show)
app.command()(watch.watch)
app.command()(best.best)
app.command()(compare.compare)
app.command()(report.report)
app.command()(ui.ui)
app.command()(promote.promote)
app.command()(rollback.rollback)
app.command()(history.history)
app.command()(reproduce.reproduce)
app.command()(sync.sync)
app.command()(delete.delete)
app.command()(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        echo(f"grovekeeper {version('grovekeeper')}")
        raise typer.Exit


@app.callback()
def global_options(
    context: typer.Context,
    storage: Annotated[
        str,
        typer.Option(envvar="OPTUNA_STORAGE", help="Address of Optuna's database.", metavar="URL"),
    ] = DEFAULT_STORAGE,
    tracking_uri: Annotated[
        str,
        typer.Option(
            envvar="MLFLOW_TRACKING_URI", help="Address of MLflow's store or server.", metavar="URI"
        ),
    ] = DEFAULT_TRACKING_URI,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of errors.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Show no progress and no messages.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Store the options that are given before the command."""
    given = context.find_object(Globals)
    if given is not None:
        given.storage, given.tracking_uri = storage, tracking_uri
        given.debug, given.quiet = debug, quiet
        given.display = context.with_resource(Display(quiet=quiet, debug=debug))


def main() -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 128 + N signal N."""
    # Importing the libraries creates many objects that are never garbage. Collecting repeatedly
    # while they are imported costs a short launch a second, and collecting at exit another.
    gc.set_threshold(_GC_THRESHOLD)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # users cannot act on warnings of libraries
    code = run(sys.argv[1:])
    gc.freeze()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; every error is one line on stderr."""
    options = Globals()
    try:
        code = app(arguments, prog_name="grovekeeper", standalone_mode=False, obj=options)
    except TyperException as error:
        return _fail(error.format_message(), error.exit_code, options)
    except UsageError as error:
        return _fail(str(error), 2, options)
    except (SearchError, StorageError) as error:
        return _fail(str(error), 1, options)
    except Stopped as stop:
        return stop.exit_code
    except Exception as error:
        failed = _database_error(error)
        cause = cause_of(failed or error, options.storage, options.tracking_uri)
        text = f"{type(error).__name__}: {cause}"
        if failed is not None:
            text = f"a database cannot be used: {cause}; run the same command again"
        hint = "(put --debug before the command to see the traceback)"
        return _fail(f"{text} {hint}", 1, options)
    return code if isinstance(code, int) else 0


def _database_error(error: Exception) -> BaseException | None:
    """Return the error of SQLAlchemy that an error is, or that caused it, as Optuna's are."""
    sqlalchemy = sys.modules.get("sqlalchemy.exc")  # importing it here would be slow
    if sqlalchemy is None:
        return None
    causes = (
        one for one in (error, error.__cause__) if isinstance(one, sqlalchemy.SQLAlchemyError)
    )
    return next(causes, None)


def _fail(message: str, code: int, options: Globals) -> int:
    addresses = (options.storage, options.tracking_uri)
    if options.debug:
        import traceback

        echo(redact_text(traceback.format_exc(), *addresses), err=True)
    line = " ".join(redact_text(message, *addresses).split())
    if len(line) > _LONGEST_LINE:
        line = f"{line[: _LONGEST_LINE // 2]} … {line[-_LONGEST_LINE // 2 :]}"
    echo(f"grovekeeper: {line}", err=True)
    return code

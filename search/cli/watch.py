"""`grovekeeper watch`: watch a study live from any machine that can reach its database."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.options import Json, globals_of
from search.cli.output import print_json, print_result
from search.cli.signals import StopSignals
from storage.errors import DatabaseError, NotFoundError
from storage.redaction import cause_of, redact
from storage.retry import retry

if TYPE_CHECKING:
    from search.monitoring.poller import StudyPoller

# Seconds between polls. After a slow poll the pause is this many times its duration.
_POLL_INTERVAL = 1.0
_PAUSE_FACTOR = 4
# Seconds for which the database may fail to answer.
_TIMEOUT = 60.0


def watch(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help="Name of the study.")],
    follow: Annotated[
        bool, typer.Option("--follow", help="Keep watching after it has ended, for later launches.")
    ] = False,
    json: Json = False,
) -> None:
    """Watch a study live until it ends.

    Works on any machine that can reach its database. Ctrl-C ends only the watching.

    Example: grovekeeper watch diabetes
    """
    from search.monitoring.poller import StudyPoller
    from search.report.summary import summarize
    from storage.studies.study import StudyBook

    options = globals_of(context)
    opened = StudyBook(options.storage).open(study)
    with StopSignals():
        poller = StudyPoller(opened)
        options.display.begin(poller.status)
        try:
            while poller.status.state == "running" or follow:
                _poll(poller, options.storage)
                options.display.update(poller.status)
        finally:
            options.display.end()
    summary = summarize(opened)
    if json:
        print_json(summary.model_dump())
    elif not options.quiet:
        if summary.state == "lost":
            options.say(f"its coordinator died: `grovekeeper launch {study}` continues it")
        print_result(summary, registered=True)


def _poll(poller: "StudyPoller", storage: str) -> None:
    """Pause, then poll the study; retry for up to a minute if the database fails."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    pause = max(_POLL_INTERVAL, _PAUSE_FACTOR * poller.poll_seconds)
    time.sleep(pause)
    errors = (StorageInternalError, SQLAlchemyError, OSError)
    try:
        retry(poller.poll, errors, timeout=_TIMEOUT, first_pause=pause, longest_pause=pause)
    except KeyError:
        name = poller.status.study
        raise NotFoundError(f"study '{name}' was deleted while it was watched") from None
    except errors as error:
        raise DatabaseError(
            f"{redact(storage)} does not answer: {cause_of(error, storage)}"
        ) from error

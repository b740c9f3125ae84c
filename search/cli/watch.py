"""`grovekeeper watch`: a study live, from any shell or machine that reaches its database."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.options import Json, globals_of
from search.cli.output import print_json, print_result
from search.cli.signals import StopSignals
from storage.errors import DatabaseError, NotFoundError, first_line
from storage.redaction import redact

if TYPE_CHECKING:
    from search.monitoring.poller import StudyPoller

# Seconds from look to look; a look that takes long is followed by a longer rest.
_EVERY = 1.0
_REST = 4
# Seconds for which the database may not answer.
_PATIENCE = 60.0


def watch(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help="Name of the study.")],
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on when it has ended: later launches, too.")
    ] = False,
    json: Json = False,
) -> None:
    """Watch a study live until it ends.

    Works from any shell or machine that reaches its database. Ctrl-C ends the watching only.

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
                _look(poller, options.storage)
                options.display.update(poller.status)
        finally:
            options.display.end()
    summary = summarize(opened)
    if json:
        print_json(summary)
    elif not options.quiet:
        if summary["state"] == "lost":
            options.say(f"its coordinator died: `grovekeeper launch {study}` goes on with it")
        print_result(summary, registered=True)


def _look(poller: "StudyPoller", storage: str) -> None:
    """Rest, then look; again where the database stumbles, up to a minute."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    deadline, cost = time.monotonic() + _PATIENCE, poller.poll_seconds
    while True:
        time.sleep(max(_EVERY, _REST * cost))
        try:
            poller.poll()
        except KeyError:
            name = poller.status.study
            raise NotFoundError(f"study '{name}' was deleted while it was watched") from None
        except (StorageInternalError, SQLAlchemyError, OSError) as error:
            if time.monotonic() > deadline:
                msg = f"{redact(storage)} does not answer: {first_line(error)}"
                raise DatabaseError(msg) from error
        else:
            return

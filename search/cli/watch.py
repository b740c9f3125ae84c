"""`grovekeeper watch`: a study live, from any shell or machine that reaches its database."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.ending import print_ending
from search.cli.options import Json, globals_of, print_json
from search.cli.signals import StopSignals
from search.progress import Progress
from storage import database
from storage.errors import DatabaseError, NotFoundError, first_line

if TYPE_CHECKING:
    from search.lookout import Lookout

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
    from search.lookout import Lookout
    from search.summary import summarize
    from storage.studies import StudyBook

    options = globals_of(context)
    opened = StudyBook(options.storage).open(study)
    progress = Progress(quiet=options.quiet)
    with StopSignals():
        lookout = Lookout(opened)
        progress.begin(lookout.standing)
        try:
            while lookout.standing.state == "running" or follow:
                _look(lookout, options.storage)
                progress.update(lookout.standing)
        finally:
            progress.end()
    summary = summarize(opened)
    if json:
        print_json(summary)
    elif not options.quiet:
        if summary["state"] == "lost":
            options.say(f"its coordinator died: `grovekeeper launch {study}` goes on with it")
        print_ending(summary, registered=True)


def _look(lookout: "Lookout", storage: str) -> None:
    """Rest, then look; again where the database stumbles, up to a minute."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    deadline, cost = time.monotonic() + _PATIENCE, lookout.cost
    while True:
        time.sleep(max(_EVERY, _REST * cost))
        try:
            lookout.look()
        except KeyError:
            name = lookout.standing.study
            raise NotFoundError(f"study '{name}' was deleted while it was watched") from None
        except (StorageInternalError, SQLAlchemyError, OSError) as error:
            if time.monotonic() > deadline:
                msg = f"{database.masked(storage)} does not answer: {first_line(error)}"
                raise DatabaseError(msg) from error
        else:
            return

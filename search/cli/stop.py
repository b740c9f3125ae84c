"""`grovekeeper stop`: end the search of a study that runs anywhere."""

import time
from typing import Annotated

import typer

from search.cli.options import globals_of
from search.cli.output import echo
from search.errors import StudyError

# Seconds to wait for the coordinator. It checks for requests every second and ends within ten.
_TIMEOUT = 30.0
_POLL = 0.5
_LATER = "; if its cluster starts it again, it stops at once"


def stop(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help="Name of the study.")],
) -> None:
    """Ask a running study to end its search cleanly.

    The same launch continues it later.

    Example: grovekeeper stop diabetes
    """
    from storage.studies.study import StudyBook

    options = globals_of(context)
    opened = StudyBook(options.storage).open(study)
    asked = opened.ask_to_stop()
    if asked is None or not asked.alive:
        later = _LATER if asked else ""
        raise StudyError(f"study '{study}' is not running but {opened.state()}{later}")
    options.say(f"asked {asked.owner} on {asked.host} (process {asked.pid}) to stop")
    deadline = time.monotonic() + _TIMEOUT
    while time.monotonic() < deadline:
        holder = opened.lease()
        if holder is None or not holder.alive or holder.epoch != asked.epoch:
            state = opened.state()
            if state in {"running", "lost"}:
                raise StudyError(f"the coordinator of study '{study}' died: it is {state}{_LATER}")
            echo(f"{study}: {state}")
            return
        time.sleep(_POLL)
    raise StudyError(
        f"study '{study}' is still running {_TIMEOUT:.0f} s after the request to stop: it may be "
        f"fitting its champion (see `grovekeeper show {study}`)"
    )

"""`grovekeeper reproduce`: make a version or a trial again and compare the results bit by bit."""

from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.options import Json, Query, globals_of, open_registry
from search.cli.output import echo, print_json
from search.errors import StudyError, UsageError

if TYPE_CHECKING:
    from search.model.reproduction import Reproduction


def reproduce(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the model, or of the study with --trial.")],
    version: Annotated[
        int | None, typer.Option(help="Version to refit. Default: the newest.", min=1)
    ] = None,
    trial: Annotated[int | None, typer.Option(help="Number of the trial to grow.", min=0)] = None,
    data: Annotated[
        str | None, typer.Option(help="Current path or address of the table.", metavar="PATH|URL")
    ] = None,
    query: Query = None,
    json: Json = False,
) -> None:
    """Refit a version from its record and compare bit by bit.

    With --trial, grow that trial of a study again and compare the scores.

    Example: grovekeeper reproduce diabetes --version 1
    """
    if trial is not None and version is not None:
        raise UsageError("--trial needs a study and --version a model: give only one of them")
    if trial is None:
        done = _version(context, name, version, data, query)
    else:
        done = _trial(context, name, trial, data, query)
    if json:
        compared = {
            what: {"recorded": then, "now": now, "equal": then == now}
            for what, (then, now) in done.compared.items()
        }
        about = {"name": done.name, "reproduced": done.succeeded}
        print_json(about | {"compared": compared, "changed": list(done.changed)})
    else:
        for what, (then, now) in done.compared.items():
            echo(f"{what}: {_short(then) if then == now else f'{then}, now {now}'}")
    if not done.succeeded:
        why = "; ".join(done.changed) or "data, code and libraries are unchanged"
        raise StudyError(f"{done.name} is not reproduced: {why}")
    if not json:
        echo(f"{done.name} is reproduced, bit by bit")


def _version(
    context: typer.Context, model: str, number: int | None, data: str | None, query: str | None
) -> "Reproduction":
    from search.model.reproduction import reproduce_version
    from search.model.serialization import load_model
    from search.promotion.versions import choose

    with open_registry(context, model) as registry:
        versions = registry.versions(model)
        chosen = versions[-1] if number is None else choose(model, versions, number)
        loaded = load_model(registry, chosen)
    return reproduce_version(loaded, data, query)


def _trial(
    context: typer.Context, study: str, number: int, data: str | None, query: str | None
) -> "Reproduction":
    from search.model.reproduction import reproduce_trial
    from storage.studies.study import StudyBook

    opened = StudyBook(globals_of(context).storage).open(study)
    return reproduce_trial(opened, number, data, query)


def _short(value: object) -> str:
    text = str(value)
    limit = 60
    return text if len(text) <= limit else f"{text[:16]}…"

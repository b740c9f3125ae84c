"""What several commands share: the global options, and options declared once."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.errors import UsageError
from search.formatting import visible

if TYPE_CHECKING:
    from search.stores import Stores
    from storage.records import Stage
    from storage.registry.client import Registry


def echo(text: str, *, err: bool = False) -> None:
    """Print lines to stdout or stderr; what would steer the terminal is written out."""
    typer.echo(visible(text), err=err)  # noqa: TID251 the one place


@dataclass
class Globals:
    """The options that stand before the command."""

    storage: str = ""
    tracking_uri: str = ""
    debug: bool = False
    quiet: bool = False

    def stores(self) -> "Stores":
        """The two addresses."""
        from search.stores import Stores

        return Stores(self.storage, self.tracking_uri)

    def say(self, text: str) -> None:
        """Print a message to stderr, unless --quiet."""
        if not self.quiet:
            echo(text, err=True)


def globals_of(context: typer.Context) -> Globals:
    """Return the global options of a running command."""
    return context.ensure_object(Globals)


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]


Query = Annotated[
    str | None,
    typer.Option(help="What is read from a database at --data.", metavar="SELECT"),
]


Reason = Annotated[str | None, typer.Option(help="Why; it is recorded.", metavar="TEXT")]


def read_stage(text: str, option: str) -> "Stage":
    """Return the stage that is meant."""
    from storage.registry.client import STAGES

    for stage in STAGES:
        if stage.lower() == text.lower():
            return stage
    raise UsageError(f"{option} {text} is no stage: there are {' and '.join(STAGES)}")


@contextmanager
def open_registry(context: typer.Context, model: str) -> "Iterator[Registry]":
    """Open the configured registry for a model; what MLflow raises is told in one line."""
    from search.study.spec import check_name
    from storage.registry import client as registry
    from storage.tracking import client as mlflow_client

    check_name("model", model)
    uri = globals_of(context).tracking_uri
    opened = registry.open_registry(uri)
    with mlflow_client.explained(uri):
        yield opened


def print_json(document: Any) -> None:
    """Print a document to stdout; numbers that JSON does not know become null."""
    echo(json.dumps(_plain(document), indent=2, ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

"""Options that several commands share: the global ones, and those declared here once."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.cli.output import echo
from search.errors import UsageError
from search.monitoring.display import Display
from search.stores import Stores
from search.study.schema import description, option_schemas

if TYPE_CHECKING:
    from storage.records import Stage
    from storage.registry.client import Registry


@dataclass
class Globals:
    """The global options, which are given before the command."""

    storage: str = ""
    tracking_uri: str = ""
    debug: bool = False
    quiet: bool = False
    display: Display = field(default_factory=lambda: Display(quiet=False))

    def stores(self) -> Stores:
        """Return the addresses of both stores."""
        return Stores(self.storage, self.tracking_uri)

    def say(self, text: str) -> None:
        """Print a message to stderr, unless --quiet."""
        if not self.quiet:
            echo(text, err=True)


def globals_of(context: typer.Context) -> Globals:
    """Return the global options of a running command."""
    return context.ensure_object(Globals)


def study_option(name: str, metavar: str) -> Any:
    """Return the command-line option of a field of `StudySpec`, with its description as help."""
    repeated = option_schemas()[name].get("type") == "array"
    text = description(name) + (" The option can be repeated." if repeated else "")
    return typer.Option(help=text, metavar=metavar)


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")]
Query = Annotated[str | None, study_option("query", "SELECT")]
Header = Annotated[
    bool | None,
    typer.Option("--header/--no-header", help=description("header"), show_default=False),
]
Reason = Annotated[
    str | None, typer.Option(help="Reason, kept in the model's history.", metavar="TEXT")
]


def read_stage(text: str, option: str) -> "Stage":
    """Return the stage with this name, in any case; raise `UsageError` if there is none."""
    from storage.registry.client import STAGES

    for stage in STAGES:
        if stage.lower() == text.lower():
            return stage
    raise UsageError(f"invalid {option} {text}: the stages are {' and '.join(STAGES)}")


@contextmanager
def open_registry(context: typer.Context, model: str) -> "Iterator[Registry]":
    """Open the configured registry for a model, and turn MLflow's errors into one line."""
    from search.study.spec import check_name
    from storage.registry import client as registry
    from storage.tracking.failures import explained

    check_name("model", model)
    uri = globals_of(context).tracking_uri
    opened = registry.open_registry(uri)
    with explained(uri):
        yield opened

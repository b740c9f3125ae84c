"""`grovekeeper compare`: compare studies side by side."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.cli.options import Csv, Json, globals_of
from search.cli.output import check_formats, echo, print_csv, print_json, print_table
from search.errors import UsageError

if TYPE_CHECKING:
    from search.report.comparison import Comparison


def compare(
    context: typer.Context,
    studies: Annotated[list[str], typer.Argument(help="Names of two or more studies.")],
    json: Json = False,
    csv: Csv = False,
) -> None:
    """Compare studies side by side.

    Shows their data, scores, differing hyperparameters and costs.

    Example: grovekeeper compare houses houses-by-mae
    """
    check_formats(json, csv)
    from search.report.comparison import compare_studies
    from storage.studies.study import StudyBook

    if len(set(studies)) < len(studies) or len(studies) == 1:
        raise UsageError("compare takes the names of two or more different studies")
    book = StudyBook(globals_of(context).storage)
    found = compare_studies([book.open(name) for name in studies])
    if json:
        print_json(found.model_dump())
        return
    rows = [[title, *values] for title, values in _rows(found)]
    if csv:
        print_csv(["", *studies], rows)
        return
    print_table(["", *studies], rows)
    if not found.comparable:
        echo(f"their scores cannot be compared: they differ in {', '.join(found.differ)}")
    if found.mlflow:
        echo(f"in the MLflow UI: {found.mlflow}")


def _rows(found: "Comparison") -> Iterator[tuple[str, list[Any]]]:
    studies = found.studies
    yield "state", [s.state if s.evaluation else "not made by Grovekeeper" for s in studies]
    yield "data", [study.data.source for study in studies]
    yield "  digest", [(study.data.digest or "")[:12] for study in studies]
    yield "target", [study.data.target for study in studies]
    yield "metric", [study.metric for study in studies]
    yield "scored by", [study.evaluation for study in studies]
    yield "best", [study.best and study.best.value for study in studies]
    yield "  of trial", [study.best and study.best.number for study in studies]
    for name, values in found.params.items():
        yield f"  {name}", values
    yield "champion of trial", [study.champion and study.champion.trial for study in studies]
    scores = [study.holdout or {} for study in studies]
    for metric in dict.fromkeys(name for one in scores for name in one):
        yield f"hold-out {metric}", [one.get(metric) for one in scores]
    yield "trials complete", [study.trials.complete for study in studies]
    yield "  pruned", [study.trials.pruned for study in studies]
    yield "seconds growing", [study.seconds.growing for study in studies]
    yield "  total", [study.seconds.total for study in studies]

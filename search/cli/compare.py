"""`grovekeeper compare`: compare studies side by side."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from search.cli.options import Csv, Json, globals_of
from search.cli.output import check_formats, echo, print_csv, print_json, print_table
from search.errors import UsageError


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
        print_json(found)
        return
    rows = [[title, *values] for title, values in _rows(found)]
    if csv:
        print_csv(["", *studies], rows)
        return
    print_table(["", *studies], rows)
    if not found["comparable"]:
        echo(f"their scores cannot be compared: they differ in {', '.join(found['differ'])}")
    if found["mlflow"]:
        echo(f"in the MLflow UI: {found['mlflow']}")


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    studies = found["studies"]

    def each(title: str, *path: str) -> tuple[str, list[Any]]:
        values = []
        for study in studies:
            value: Any = study
            for key in path:
                value = value.get(key) if value is not None else None
            values.append(value)
        return title, values

    yield "state", [s["state"] if s["evaluation"] else "not made by Grovekeeper" for s in studies]
    yield each("data", "data", "source")
    yield "  digest", [(study["data"]["digest"] or "")[:12] for study in studies]
    yield each("target", "data", "target")
    yield each("metric", "metric")
    yield each("scored by", "evaluation")
    yield each("best", "best", "value")
    yield each("  of trial", "best", "number")
    for name, values in found["params"].items():
        yield f"  {name}", values
    yield each("champion of trial", "champion", "trial")
    metrics = dict.fromkeys(name for study in studies for name in study["holdout"] or {})
    for name in metrics:
        yield each(f"hold-out {name}", "holdout", name)
    yield each("trials complete", "trials", "complete")
    yield each("  pruned", "trials", "pruned")
    yield each("seconds growing", "seconds", "growing")
    yield each("  total", "seconds", "total")

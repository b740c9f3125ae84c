"""`grovekeeper show`: one study in full."""

from typing import Annotated, Any

import typer

from search.cli.options import Json, globals_of, print_json


def show(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help="Name of the study.")],
    json: Json = False,
) -> None:
    """Show a study.

    Example: grovekeeper show diabetes --json
    """
    from search.summary import summarize
    from storage.studies import StudyBook

    summary = summarize(StudyBook(globals_of(context).storage).open(study))
    if json:
        print_json(summary)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(summary):
        table.add_row(name, value)
    Console().print(table, highlight=False)


def _rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    trials, best, lease = summary["trials"], summary["best"], summary["lease"]
    counts = ", ".join(f"{trials[k]} {k}" for k in trials if k != "goal" and trials[k])
    rows = [
        ("study", summary["study"]),
        ("state", summary["state"]),
        ("metric", f"{summary['metric']} ({summary['direction']})"),
        ("trials", f"{counts or 'none'}, of {trials['goal']}"),
    ]
    if lease:
        rows.append(("run by", f"{lease['owner']} on {lease['host']}, process {lease['pid']}"))
    if best:
        rows.append(("best", f"{best['value']:.6g} (trial {best['number']})"))
        rows += [(f"  {name}", f"{value}") for name, value in best["params"].items()]
        rows.append(("scored by", f"{summary['evaluation']}, {summary['covered']:.2%} of the rows"))
    for name, value in (summary["holdout"] or {}).items():
        rows.append((f"hold-out {name}", f"{value:.6g}"))
    if summary["model"]:
        rows.append(("model", f"{summary['model']['name']} version {summary['model']['version']}"))
    mirror, place = summary["mirror"], summary["mlflow"]
    rows.append(("MLflow", f"{mirror['runs']} trial runs, {mirror['behind']} behind"))
    rows += [(f"  {name}", str(value)) for name, value in place.items() if value]
    rows += [(f"seconds {name}", f"{value:g}") for name, value in summary["seconds"].items()]
    return rows

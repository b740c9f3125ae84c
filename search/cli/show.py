"""`grovekeeper show`: show all about one study."""

from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.options import Csv, Json, globals_of
from search.cli.output import check_formats, echo, print_csv, print_json, print_table

if TYPE_CHECKING:
    from search.report.summary import StudySummary
    from storage.records import TrialRecord

_BEST = 5


def show(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help="Name of the study.")],
    json: Json = False,
    csv: Csv = False,
) -> None:
    """Show a study and its best trials.

    With --csv, print all its trials.

    Example: grovekeeper show diabetes --csv
    """
    check_formats(json, csv)
    from search.formatting import params_listed
    from search.report.summary import summarize
    from search.report.trial_table import trial_table
    from search.study.ranking import best_first
    from storage.studies.study import StudyBook

    opened = StudyBook(globals_of(context).storage).open(study)
    trials = opened.trials()
    summary = summarize(opened, trials)
    if json:
        print_json(summary.model_dump())
        return
    metric = summary.metric
    if csv:
        print_csv(*trial_table(opened, trials))
        return
    print_table(["", ""], _rows(summary))
    best = best_first(trials, opened.direction)[:_BEST]
    if best:
        echo("")
        rows = [[t.number, t.value, t.steps, _model_size(t), params_listed(t.params)] for t in best]
        columns = ["trial", metric, "trees", "size", "hyperparameters"]
        print_table(columns, rows, title="The best trials")


def _model_size(trial: "TrialRecord") -> str | None:
    """Return the forecast size in memory of a champion with this trial's hyperparameters."""
    from search.formatting import size

    return None if trial.model_bytes is None else f"{size(trial.model_bytes):>8}"


def _rows(summary: "StudySummary") -> list[tuple[str, str]]:
    trials, best, lease = summary.trials, summary.best, summary.lease
    counts = ", ".join(f"{n} {name}" for name, n in trials.by_state().items())
    ours = summary.evaluation is not None
    rows = [
        ("study", summary.study),
        ("state", summary.state if ours else "not made by Grovekeeper"),
        ("metric", f"{summary.metric} ({summary.direction})"),
        ("trials", (counts or "none") + (f", of {trials.goal}" if trials.goal else "")),
    ]
    if summary.classes:
        from search.data.target import list_classes

        rows.append(("classes", list_classes(summary.classes, summary.positive)))
    if lease:
        rows.append(("run by", f"{lease.owner} on {lease.host}, process {lease.pid}"))
    if best:
        rows.append(("best", f"{best.value:.6g} (trial {best.number})"))
    if best and ours:
        rows.append(("scored by", f"{summary.evaluation}, {summary.covered:.2%} of the rows"))
    trial = summary.of_trial
    for name, value in (summary.holdout or {}).items():
        rows.append((f"hold-out {name}", f"{value:.6g}{trial}"))
    if summary.model:
        version = f"{summary.model.name} version {summary.model.version}"
        rows.append(("model", f"{version}{trial}"))
    mirror, place = summary.mirror, summary.mlflow
    if ours:
        rows.append(("MLflow", f"{mirror.runs} trial runs, {mirror.behind} behind"))
        rows += [(f"  {name}", str(value)) for name, value in place if value]
        if place.run_id and not place.view:
            rows.append(("  look at it", f"grovekeeper ui --study {summary.study}"))
    seconds = summary.seconds.model_dump()
    rows += [(f"seconds {name}", f"{value:g}") for name, value in seconds.items()]
    return rows

"""What is printed when a study has ended: what was found, and what to do with it."""

from typing import Any

from search.cli.options import echo


def print_ending(summary: dict[str, Any], *, registered: bool) -> None:
    """Print what a person wants to know next.

    Parameters
    ----------
    registered
        Whether the champion was to be registered.
    """
    from search.formatting import params_listed, scores_listed
    from search.report.summary import of_another

    best, model, trials = summary["best"], summary["model"], summary["trials"]
    line = f"{summary['study']}: {trials['complete']} trials complete, {trials['pruned']} pruned"
    echo(line + (f", {trials['failed']} failed" if trials["failed"] else ""))
    if best is None:
        return
    shown = params_listed(best["params"])
    echo(f"best: trial {best['number']}, {summary['metric']} {best['value']:.5g} ({shown})")
    if of_another(summary):
        champion = summary["champion"]["trial"]
        echo(f"the champion is still trial {champion}'s: the same launch makes the new one")
        model = None
    elif summary["holdout"]:
        echo(f"hold-out: {scores_listed(summary['holdout'])}")
    if model is not None and registered and summary["state"] in {"finished", "stopped"}:
        name = model["name"]
        echo(f"registered: {name} version {model['version']} (models:/{name}/{model['version']})")
        echo(f"promote it: grovekeeper promote {name} --to Staging")
    if summary["evaluation"] is None:  # made elsewhere: MLflow has no run of it
        return
    place = summary["mlflow"]["view"] or f"grovekeeper ui --study {summary['study']}"
    echo(f"look at it: {place}")

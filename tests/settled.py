"""Notes and summaries of studies, without a launch."""

from typing import Any

from search.report.summary import StudySummary
from search.study.notes import StudyNotes
from storage.studies.study import Study


def settle(study: Study, metric: str = "rmse", **notes: Any) -> None:
    """Write the notes of a launch to a study; `notes` add to the defaults or replace them."""
    spec = {
        "data": "houses.csv",
        "data_digest": "d" * 64,
        "target": "price",
        "task": "regression",
        "metric": metric,
        "seed": 0,
        "holdout": 0.2,
        "evaluation": "out-of-bag",
        "space": {},
    }
    about = {"spec": spec, "rows": 442, "columns": 10, "goal": 50, "uid": "abc"}
    about |= {"experiment": "houses", "started": "2026-01-01T00:00:00+00:00"}
    study.name_metric(metric)
    study.write(StudyNotes.model_validate(about | notes))


def summary_of(study: str, **changes: Any) -> StudySummary:
    """Return the summary of a study that has just begun, with these changes."""
    counts = ("complete", "pruned", "interrupted", "failed", "running", "waiting")
    pages = ("tracking_uri", "experiment_id", "run_id", "url", "view")
    begun = {
        "study": study,
        "state": "running",
        "metric": "rmse",
        "direction": "minimize",
        "trials": dict.fromkeys(counts, 0) | {"goal": None} | changes.pop("trials", {}),
        "lease": None,
        "best": None,
        "evaluation": "out-of-bag",
        "covered": None,
        "classes": None,
        "positive": None,
        "champion": None,
        "holdout": None,
        "model": None,
        "mirror": {"runs": 0, "behind": 0},
        "mlflow": dict.fromkeys(pages),
        "seconds": {},
    }
    return StudySummary.model_validate(begun | changes)

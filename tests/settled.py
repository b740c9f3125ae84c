"""Studies with the notes that a launch leaves on them, without a launch."""

from typing import Any

from search.study.notes import StudyNotes
from storage.studies.study import Study


def settle(study: Study, metric: str = "rmse", **notes: Any) -> None:
    """Note on a study what it is for; `notes` are added, or take the place of others."""
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

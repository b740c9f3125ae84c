"""`sync`: bring a study's MLflow mirror level with Optuna's database."""

from dataclasses import dataclass

from search.errors import StudyError
from storage import mlflow_store
from storage.progress import Progress
from storage.studies import Study, study_record
from storage.tracking import Mirror


@dataclass(frozen=True)
class Synced:
    """What a sync found and did: runs of trials, and how many of them it made or changed."""

    study: str
    runs: int
    changed: int


def sync(study: Study, tracking_uri: str) -> Synced:
    """Write every trial that MLflow does not show, or shows otherwise.

    Raises
    ------
    StudyError
        When the study was not made by grovekeeper.
    DatabaseError
        When MLflow's store cannot be used.
    """
    notes = study.notes()
    if "spec" not in notes:
        raise StudyError(f"study '{study.name}' was not made by grovekeeper: nothing to mirror")
    mlflow_store.check(tracking_uri)
    mirror = Mirror(tracking_uri, notes["experiment"])
    trials = study.trials()
    try:
        mirror.connect()
        record = study_record(study, notes, Progress(study.direction, trials), study.state())
        mirror.adopt(record)
        changed = sum(mirror.write_trial(trial) for trial in trials if trial.state != "WAITING")
        mirror.write_study(record)
    except Exception as error:
        raise mlflow_store.explain(tracking_uri, error) from error
    runs = sum(trial.state != "WAITING" for trial in trials)
    study.put("mirror", {"runs": runs, "behind": 0} | mirror.place())
    return Synced(study.name, runs, changed)

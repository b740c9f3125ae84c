"""`sync`: update a study's MLflow mirror from Optuna's database."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from search.errors import StudyError
from search.report import report_files
from search.report.run_note import study_record
from search.study.notes import MirrorNote, StudyNotes, read_initialized, read_notes
from storage.errors import LeaseLostError
from storage.leases.lease import Lease
from storage.records import LOST_REASON, StudyRecord, StudyState, TrialRecord
from storage.studies.foreign import foreign_study, foreign_trial, foreign_uid
from storage.studies.statistics import TrialStatistics
from storage.studies.study import Study
from storage.tracking import client as mlflow_client
from storage.tracking.failures import explain
from storage.tracking.mirror import Mirror


@dataclass(frozen=True)
class Synced:
    """Result of a sync.

    Attributes
    ----------
    runs
        Number of the study's trials, each of which has a run now.
    changed
        Number of runs that were created or changed.
    deleted
        Number of runs that were deleted, because no trial or another run of the same trial exists.
    """

    study: str
    runs: int
    changed: int
    deleted: int


def sync(study: Study, tracking_uri: str, *, restore: bool = False) -> Synced:
    """Write every trial that MLflow does not show or shows differently.

    The sync holds the study's lease, because a running coordinator updates its mirror itself. If
    the last coordinator died, its running trials are ended first. Studies made by other tools have
    no lease: they are mirrored in their current state, even while another process works on them.

    Parameters
    ----------
    restore
        Restore the experiment and the study's run if they were deleted. This does not need the
        lease: a running coordinator continues with them.

    Raises
    ------
    StudyError
        When a study made by another tool has no trial yet.
    StudyBusyError
        While the study runs.
    DatabaseError
        When MLflow's store cannot be used.
    PermanentError
        When the experiment or the study's run was deleted, and is not to be restored.
    """
    mlflow_client.check(tracking_uri)
    before = read_notes(study)
    if before.spec is None:
        return _sync_foreign(study, tracking_uri, restore=restore)
    if restore and before.uid:
        try:
            Mirror(tracking_uri, before.experiment, uid=before.uid, restore=True).connect()
        except Exception as error:
            raise explain(tracking_uri, error) from error
    with Lease(study.book.leases, study.name) as lease:
        notes = read_initialized(study)
        # We hold the lease: a coordinator that the notes say is running has died.
        noted = notes.state or "finished"
        state: StudyState = "lost" if noted == "running" else noted
        trials = [_ended(study, trial) for trial in study.trials()]
        statistics = TrialStatistics(study.direction, trials)
        record = study_record(study, notes, statistics, state)
        mirror = Mirror(tracking_uri, notes.experiment, lambda: report_files(study))
        done = _update_mirror(mirror, record, trials, lease.check)
        note = MirrorNote.at(mirror.location(), runs=len(trials), behind=0)
        study.write(StudyNotes(mirror=note))
    return done


def _sync_foreign(study: Study, tracking_uri: str, *, restore: bool) -> Synced:
    known = study.optuna.get_trials(deepcopy=False)
    if not any(trial.datetime_start for trial in known):
        raise StudyError(f"study '{study.name}' has no trial yet: nothing to mirror")
    trials = [foreign_trial(trial) for trial in known]
    is_running = any(trial.state == "RUNNING" for trial in trials)
    uid = foreign_uid(study.optuna)
    record = foreign_study(study.optuna, uid, "running" if is_running else "finished")
    mirror = Mirror(tracking_uri, study.name, uid=uid, restore=restore, shared=True)
    return _update_mirror(mirror, record, trials)


def _update_mirror(
    mirror: Mirror,
    record: StudyRecord,
    trials: Sequence[TrialRecord],
    check: Callable[[], None] = lambda: None,
) -> Synced:
    """Write the records to the mirror; MLflow's errors become a `DatabaseError` of one line.

    `check` is called before each write, and raises `LeaseLostError` once the lease is lost.
    """
    changed = 0
    try:
        mirror.connect()
        check()
        mirror.adopt(record, thoroughly=True)
        for trial in trials:
            check()
            changed += mirror.write_trial(trial)
        check()
        deleted = mirror.keep_only({trial.number for trial in trials})
        mirror.write_study(record)
    except LeaseLostError:
        raise
    except Exception as error:
        raise explain(mirror.tracking_uri, error) from error
    return Synced(record.name, len(trials), changed, deleted)


def _ended(study: Study, trial: TrialRecord) -> TrialRecord:
    """End a trial that a dead coordinator left running."""
    if trial.state != "RUNNING":
        return trial
    now = datetime.now(UTC)
    return study.end_trial(
        replace(trial, state="FAIL", reason=LOST_REASON, interrupted=True, ended=now)
    )

"""`delete`: deletes a study, its runs and its view. Registered model versions stay."""

from dataclasses import dataclass

from search.errors import StudyError
from search.study.notes import read_notes
from storage.errors import LeaseLostError
from storage.leases.lease import Lease
from storage.studies.study import Study
from storage.tracking import client as mlflow_client
from storage.tracking.failures import explain
from storage.tracking.mirror import Mirror


@dataclass(frozen=True)
class Deleted:
    """Result of a deletion: the numbers of trials and of MLflow runs that were deleted."""

    study: str
    trials: int
    runs: int


def delete(study: Study, tracking_uri: str) -> Deleted:
    """Delete a study's runs and its view from MLflow, then the study itself from the database.

    The deletion holds the study's lease. If it fails, the study stays, and the same call again
    completes it. Runs are deleted as in MLflow's UI, where they can be restored.

    Raises
    ------
    StudyError
        When the study was not made by grovekeeper.
    StudyBusyError
        While the study runs.
    DatabaseError
        When MLflow's store cannot be used.
    """
    notes = read_notes(study)
    if notes.spec is None:
        raise StudyError(
            f"study '{study.name}' was not made by grovekeeper: delete it with the tool that did"
        )
    mlflow_client.check(tracking_uri)
    with Lease(study.book.leases, study.name) as lease:
        trials = len(study.trials())
        runs = 0
        try:
            if not mlflow_client.is_new(tracking_uri):
                runs = Mirror(tracking_uri, notes.experiment).delete(study.uid, lease.check)
        except LeaseLostError:
            raise
        except Exception as error:
            raise explain(tracking_uri, error) from error
        study.delete()
    return Deleted(study.name, trials, runs)

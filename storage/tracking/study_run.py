"""The study's own run in MLflow: its data, its progress, its note and its report."""

import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from storage.errors import DatabaseError, PermanentError
from storage.records import DataRecord, StudyRecord
from storage.redaction import cause_of
from storage.tracking import artifacts, views
from storage.tracking import client as mlflow_client
from storage.tracking.runs import Runs, is_active, search_everywhere

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Run

_logger = logging.getLogger(__name__)

KIND_TAG = "grovekeeper.kind"
STUDY_TAG = "grovekeeper.study"
UID_TAG = "grovekeeper.study_uid"
LENT_TAG = "grovekeeper.lent"
_NOTE_TAG = "mlflow.note.content"
_REPORT_DIGEST_TAG = "grovekeeper.report"

_STATUS = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "stopped": "KILLED",
    "interrupted": "KILLED",
    "failed": "FAILED",
    "lost": "FAILED",
}
# Only a study in one of these states gets a report; studies in other states can continue.
_REPORTED = ("finished", "stopped")
_REPORT, _PAGE = "report", "report.html"
_DIGEST_LENGTH = 32


def runs_of(runs: Runs, uid: str) -> "list[Run]":
    """Find a study's own runs, oldest first; a lost response may have left more than one."""
    return list(runs.search(condition_of(uid)))


def condition_of(uid: str) -> str:
    """Return the condition that a study's own run meets."""
    return f"tags.`{KIND_TAG}` = 'study' and tags.`{UID_TAG}` = '{uid}'"


def experiment_of(tracking_uri: str, uid: str) -> str | None:
    """Return the id of the experiment that contains a study's run; ``None`` if there is none."""
    if mlflow_client.is_new(tracking_uri):
        return None
    found = search_everywhere(mlflow_client.connect(tracking_uri), condition_of(uid))
    return next((str(run.info.experiment_id) for run in found if is_active(run.info)), None)


class StudyRun:
    """A study's run, existing or new. Every method raises the errors of MLflow.

    Parameters
    ----------
    report
        Creates the report of the study and returns its files by name.
    found
        The existing run, if there is one.
    context
        Tags for a new run: user, source and version of the program that creates it.
    lent
        Whether a user created the run: its status and its note are then not changed.
    """

    def __init__(
        self,
        runs: Runs,
        study: StudyRecord,
        found: "Run | None",
        context: Mapping[str, str],
        report: Callable[[], Mapping[str, bytes]],
        *,
        lent: bool = False,
    ) -> None:
        self._lent = lent
        self._client = runs.client
        self._runs = runs
        self._experiment_id = runs.experiment_id
        self._uid, self._name = study.uid, study.name
        self._report = report
        identity = {KIND_TAG: "study", STUDY_TAG: study.name, UID_TAG: study.uid}
        if lent:
            identity[LENT_TAG] = "true"
        self._shown = (
            runs.read(found)
            if found
            else runs.create(study.name, study.started, {**context, **identity})
        )
        # True after a failed call: MLflow may have carried it out.
        self._uncertain = False
        runs.write(self._shown, {}, dict(study.params), identity, datetime.now(UTC))
        if study.data and not (found and found.inputs and found.inputs.dataset_inputs):
            runs.client.log_inputs(self.id, [_dataset(study.data)])

    @property
    def id(self) -> str:
        """The run's id."""
        return self._shown.run_id

    def write(self, study: StudyRecord) -> None:
        """Update the run to match the study's record."""
        metrics = {(f"best_{study.metric}", number): value for number, value in study.best}
        done = sum(study.counts.get(name, 0) for name in ("complete", "pruned"))
        metrics |= {(f"trials_{name}", done): float(n) for name, n in study.counts.items()}
        metrics |= {(f"holdout_{name}", 0): value for name, value in study.holdout.items()}
        if self._uncertain:
            self._shown = self._runs.read(self._find())
        self._uncertain = True  # until every call has succeeded
        # The order in which trials were entered decides which ten trials form a point, so a recount
        # may give other values. Points that MLflow already shows are kept.
        for number, rate in study.throughput:
            point = (study.throughput_metric, number)
            metrics[point] = self._shown.metrics.get(point, rate)
        now = datetime.now(UTC)
        reported = self._shown.tags.get(_REPORT_DIGEST_TAG) == _report_digest(study)
        tags = {**study.attributes, **self._note(study, reported=reported)}
        self._runs.write(self._shown, metrics, dict(study.params), tags, now)
        if not self._lent:
            self._runs.set_status(self._shown, _STATUS[study.state], now)
        # The report is written last because it takes long and nothing else depends on it.
        if study.state in _REPORTED and not reported and self._write_report(study):
            self._runs.write(self._shown, {}, {}, self._note(study, reported=True), now)
        self._uncertain = False

    def forget_report(self) -> None:
        """Write the report again if the store confirms that its page was deleted."""
        with suppress(Exception):
            there = {file.path for file in self._client.list_artifacts(self.id, _REPORT)}
            if f"{_REPORT}/{_PAGE}" not in there:
                self._shown.tags.pop(_REPORT_DIGEST_TAG, None)

    def _find(self) -> "Run":
        found = [run for run in runs_of(self._runs, self._uid) if run.info.run_id == self.id]
        if not found:
            raise PermanentError(f"the run of study '{self._name}' was deleted in MLflow")
        return found[0]

    def _note(self, study: StudyRecord, *, reported: bool) -> dict[str, str]:
        """Return the tag for the note on the run's page, with links to the view and the report."""
        if self._lent or not study.note:
            return {}
        links = views.links(self._experiment_id, self._uid)
        if reported:
            links += f", {views.artifact(self._experiment_id, self.id, f'{_REPORT}/{_PAGE}')}"
        return {_NOTE_TAG: f"{study.note}\n\n{links}"}

    def _write_report(self, study: StudyRecord) -> bool:
        """Store the report with the run; return whether that succeeded.

        A failure is only logged as a warning, because `sync` can create the report again.
        """
        try:
            files = self._report()
            if not files:
                return False
            with tempfile.TemporaryDirectory(prefix="grovekeeper-") as folder:
                for name, content in files.items():
                    (Path(folder) / name).write_bytes(content)
                self._upload(Path(folder))
        except Exception as error:
            _logger.warning(
                "the report was not stored with the run (%s): `grovekeeper sync` tries again",
                str(error) if isinstance(error, DatabaseError) else cause_of(error),
                extra={"cause": error},
            )
            return False
        self._runs.write(
            self._shown, {}, {}, {_REPORT_DIGEST_TAG: _report_digest(study)}, datetime.now(UTC)
        )
        return True

    def _upload(self, folder: Path) -> None:
        experiment = self._client.get_experiment(self._experiment_id)
        artifacts.check_place(self._client, experiment)
        uri = self._client.tracking_uri
        with artifacts.explained(uri, experiment.artifact_location, folder):
            self._client.log_artifacts(self.id, str(folder), _REPORT)


def _report_digest(study: StudyRecord) -> str:
    """Return a digest that changes whenever the report does: the note contains the same facts."""
    return sha256(study.note.encode()).hexdigest()[:_DIGEST_LENGTH]


def _dataset(data: DataRecord) -> "DatasetInput":
    from mlflow.entities import Dataset, DatasetInput

    return DatasetInput(
        Dataset(
            name=data.name,
            digest=data.digest[:_DIGEST_LENGTH],
            source_type="local",
            source=json.dumps({"uri": data.source}),
            profile=json.dumps({"num_rows": data.rows, "num_columns": data.columns}),
        )
    )

"""The MLflow mirror of one study: a run for the study, exactly one nested run for each trial.

The mirror writes the difference between a record and what MLflow already shows, so writing a record
twice changes nothing, and bringing an old mirror level is writing every record once more.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from storage import database, mlflow_store
from storage.errors import DatabaseError
from storage.records import FINISHED_STATES, StudyRecord, TrialRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric, Run

PARENT_TAG = "mlflow.parentRunId"
KIND_TAG = "grovekeeper.kind"
STUDY_TAG = "grovekeeper.study"
UID_TAG = "grovekeeper.study_uid"
NUMBER_TAG = "optuna.trial.number"
STATE_TAG = "optuna.trial.state"

# As MLflow's own Optuna storage maps them.
_TRIAL_STATUS = {
    "WAITING": "SCHEDULED",
    "RUNNING": "RUNNING",
    "COMPLETE": "FINISHED",
    "PRUNED": "KILLED",
    "FAIL": "FAILED",
}
_STUDY_STATUS = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "stopped": "KILLED",
    "interrupted": "KILLED",
    "failed": "FAILED",
    "lost": "FAILED",
}
_PAGE = 1000
_BATCH = 900
_VALUE_LENGTH = 5000
_DIGEST_LENGTH = 32


@dataclass
class _Shown:
    """What MLflow already shows of a run."""

    run_id: str
    status: str
    params: set[str] = field(default_factory=set)
    metrics: dict[tuple[str, int], float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class Mirror:
    """Writes one study's records to MLflow. Not safe for several threads.

    Every method raises what MLflow raises: whoever calls decides whether to try again.
    """

    def __init__(self, tracking_uri: str, experiment: str) -> None:
        self.tracking_uri = tracking_uri
        self.experiment_id = ""
        self.run_id = ""
        self._experiment = experiment
        self._client: MlflowClient
        self._study: _Shown
        self._trials: dict[int, _Shown] = {}
        # Trials whose `create_run` got no answer: the run may be there all the same.
        self._unsure: set[int] = set()

    @property
    def url(self) -> str | None:
        """The study run's page, where the store is a server and the run is there."""
        if not mlflow_store.is_server(self.tracking_uri) or not self.run_id:
            return None
        server = database.masked(self.tracking_uri).rstrip("/")
        return f"{server}/#/experiments/{self.experiment_id}/runs/{self.run_id}"

    def place(self) -> dict[str, str | None]:
        """Where the study's run is found, as far as it is known."""
        return {
            "tracking_uri": database.masked(self.tracking_uri),
            "experiment_id": self.experiment_id or None,
            "run_id": self.run_id or None,
            "url": self.url,
        }

    def connect(self) -> None:
        """Open the store; make its schema where it is new."""
        new = mlflow_store.is_new(self.tracking_uri)
        self._client = mlflow_store.client(self.tracking_uri)
        if new:
            database.enable_wal(self.tracking_uri)
        self._known_experiment()

    def adopt(self, study: StudyRecord) -> None:
        """Find or make the study's run, and learn what MLflow shows of its trials."""
        self.experiment_id = self._find_experiment()
        condition = f"tags.`{KIND_TAG}` = 'study' and tags.`{UID_TAG}` = '{study.uid}'"
        found = next(self._search(condition), None)
        self._study = self._shown(found) if found else self._create_study(study)
        self.run_id = self._study.run_id
        self._write(self._study, {}, dict(study.params), {}, datetime.now(UTC))
        if not (found and found.inputs and found.inputs.dataset_inputs):
            self._client.log_inputs(self.run_id, [_dataset(study)])
        self._trials = {}
        if found:
            for run in self._search(self._children()):
                self._trials[int(run.data.tags[NUMBER_TAG])] = self._shown(run)
        self._uid, self._name = study.uid, study.name
        self._metric, self._guide = study.metric, study.guide

    def write_study(self, study: StudyRecord) -> None:
        """Bring the study's run level with its record."""
        metrics = {(f"best_{study.metric}", number): value for number, value in study.best}
        done = sum(study.counts.get(name, 0) for name in ("complete", "pruned"))
        metrics |= {(f"trials_{name}", done): float(n) for name, n in study.counts.items()}
        metrics |= {(f"holdout_{name}", 0): value for name, value in study.holdout.items()}
        self._write(self._study, metrics, {}, {}, datetime.now(UTC))
        self._set_status(self._study, _STUDY_STATUS[study.state], datetime.now(UTC))

    def write_trial(self, trial: TrialRecord) -> bool:
        """Bring a trial's run level with its record; return whether anything was to be done."""
        shown = self._trials.get(trial.number)
        changed = shown is None
        if shown is None:
            shown = self._trials[trial.number] = self._find_or_create(trial)
        metrics = {(self._guide, trees): score for trees, score in trial.scores.items()}
        last = trial.trees or max(trial.scores, default=0)
        if trial.value is not None:
            metrics[self._metric, last] = trial.value
        params = {name: str(value) for name, value in trial.params.items()}
        tags: dict[str, str] = {STATE_TAG: trial.state}
        if trial.repeats is not None:
            tags["grovekeeper.repeats"] = str(trial.repeats)
        if trial.copies is not None:
            tags["grovekeeper.copies"] = str(trial.copies)
        if trial.reason is not None:
            tags["grovekeeper.reason"] = trial.reason[:_VALUE_LENGTH]
        if trial.state in FINISHED_STATES:
            if trial.trees is not None:
                params["n_estimators"] = str(trial.trees)
            if trial.fit_seconds is not None:
                metrics["fit_seconds", last] = trial.fit_seconds
        changed |= self._write(shown, metrics, params, tags, trial.ended or datetime.now(UTC))
        return self._set_status(shown, _TRIAL_STATUS[trial.state], trial.ended) or changed

    def _find_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        known = self._known_experiment()
        if known is not None:
            return known
        try:
            return str(self._client.create_experiment(self._experiment))
        except MlflowException:  # another study may have made it just now
            known = self._known_experiment()
            if known is None:
                raise
            return known

    def _known_experiment(self) -> str | None:
        found = self._client.get_experiment_by_name(self._experiment)
        if found is None:
            return None
        if found.lifecycle_stage != "active":
            msg = (
                f"the experiment '{self._experiment}' was deleted in MLflow: restore it there, "
                "or name another with --experiment"
            )
            raise DatabaseError(msg)
        return str(found.experiment_id)

    def _create_study(self, study: StudyRecord) -> _Shown:
        from mlflow.tracking.context.registry import resolve_tags

        tags = {KIND_TAG: "study", STUDY_TAG: study.name, UID_TAG: study.uid}
        run = self._client.create_run(
            self.experiment_id,
            start_time=_millis(study.started),
            run_name=study.name,
            tags=resolve_tags() | tags,
        )
        return _Shown(run.info.run_id, "RUNNING")

    def _children(self) -> str:
        return f"tags.`{PARENT_TAG}` = '{self.run_id}' and tags.`{KIND_TAG}` = 'trial'"

    def _find_or_create(self, trial: TrialRecord) -> _Shown:
        if trial.number in self._unsure:
            condition = f"{self._children()} and tags.`{NUMBER_TAG}` = '{trial.number}'"
            found = next(self._search(condition), None)
            if found is not None:
                return self._shown(found)
        tags = {
            PARENT_TAG: self.run_id,
            KIND_TAG: "trial",
            STUDY_TAG: self._name,
            UID_TAG: self._uid,
            NUMBER_TAG: str(trial.number),
            STATE_TAG: trial.state,
        }
        self._unsure.add(trial.number)
        run = self._client.create_run(
            self.experiment_id,
            start_time=_millis(trial.started),
            run_name=f"trial-{trial.number:04d}",
            tags=tags,
        )
        self._unsure.discard(trial.number)
        return _Shown(run.info.run_id, "RUNNING", tags=tags)

    def _write(
        self,
        shown: _Shown,
        metrics: dict[tuple[str, int], float],
        params: dict[str, str],
        tags: dict[str, str],
        time: datetime,
    ) -> bool:
        from mlflow.entities import Metric, Param, RunTag

        points = [
            Metric(name, value, _millis(time), step)
            for (name, step), value in metrics.items()
            if shown.metrics.get((name, step)) != value
        ]
        new_params = [
            Param(k, v[:_VALUE_LENGTH]) for k, v in params.items() if k not in shown.params
        ]
        new_tags = [RunTag(k, v) for k, v in tags.items() if shown.tags.get(k) != v]
        if not (points or new_params or new_tags):
            return False
        for start in range(0, max(len(points), 1), _BATCH):
            batch = points[start : start + _BATCH]
            self._client.log_batch(shown.run_id, batch, new_params, new_tags)
            new_params, new_tags = [], []
        shown.metrics |= metrics
        shown.params |= set(params)
        shown.tags |= tags
        return True

    def _set_status(self, shown: _Shown, status: str, ended: datetime | None) -> bool:
        if shown.status == status:
            return False
        if status in {"RUNNING", "SCHEDULED"}:
            self._client.update_run(shown.run_id, status)
        else:
            self._client.set_terminated(shown.run_id, status, _millis(ended))
        shown.status = status
        return True

    def _search(self, condition: str) -> "Iterator[Run]":
        """Yield the runs that meet `condition`, all pages of them, oldest first."""
        token = None
        while True:
            page = self._client.search_runs(
                [self.experiment_id],
                condition,
                max_results=_PAGE,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def _shown(self, run: "Run") -> _Shown:
        """Read what a run shows; the search gives each metric's last point, the rest is fetched."""
        points: dict[tuple[str, int], float] = {}
        for name in run.data.metrics:
            history: list[Metric] = self._client.get_metric_history(run.info.run_id, name)
            history.sort(key=lambda point: point.timestamp)
            points |= {(name, point.step): point.value for point in history}
        return _Shown(
            run_id=run.info.run_id,
            status=run.info.status,
            params=set(run.data.params),
            metrics=points,
            tags=dict(run.data.tags),
        )


def _dataset(study: StudyRecord) -> "DatasetInput":
    from mlflow.entities import Dataset, DatasetInput

    data = study.data
    return DatasetInput(
        Dataset(
            name=data.name,
            digest=data.digest[:_DIGEST_LENGTH],
            source_type="local",
            source=json.dumps({"uri": data.source}),
            profile=json.dumps({"num_rows": data.rows, "num_columns": data.columns}),
        )
    )


def _millis(time: datetime | None) -> Any:
    return None if time is None else int(time.timestamp() * 1000)

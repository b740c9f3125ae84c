"""The MLflow mirror of one study: a run for the study, exactly one nested run for each trial.

The mirror writes the difference between a record and what MLflow already shows, so writing a record
twice changes nothing, and bringing an old mirror level is writing every record once more.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from storage import database
from storage.addresses import StoreAddress
from storage.errors import DatabaseError
from storage.records import FINISHED_STATES, RunLocation, StudyRecord, TrialRecord
from storage.tracking import client as mlflow_client
from storage.tracking import views
from storage.tracking.runs import Runs, Shown
from storage.tracking.study_run import KIND_TAG, LENT_TAG, STUDY_TAG, UID_TAG, StudyRun, runs_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_logger = logging.getLogger(__name__)

PARENT_TAG = "mlflow.parentRunId"
NUMBER_TAG = "optuna.trial.number"
STATE_TAG = "optuna.trial.state"
REASON_TAG = "grovekeeper.reason"
REPEATS_TAG = "grovekeeper.repeats"
REPEATED_TAG = "grovekeeper.repeated_by"
COPIES_TAG = "grovekeeper.copies"

# As MLflow's own Optuna storage maps them.
_TRIAL_STATUS = {
    "WAITING": "SCHEDULED",
    "RUNNING": "RUNNING",
    "COMPLETE": "FINISHED",
    "PRUNED": "KILLED",
    "FAIL": "FAILED",
}
_FIRST_ANALYSIS = 200


class Mirror:
    """Writes one study's records to MLflow. Not safe for several threads.

    Every method raises what MLflow raises: whoever calls decides whether to try again. A call that
    failed may have been carried out all the same, so the trial is looked up before it is written
    again: its run is found, or read anew, or, where somebody deleted it, made once more.

    Parameters
    ----------
    report
        Makes the files of the study's report, by name; called when it has ended.
    study_run
        Id of a run of the experiment to take for the study's, where it has none yet. Its status and
        its note are left to whoever made it.
    shared
        Others may write the same study's runs: where two have made one for the same, all agree on
        which of them stays.
    """

    def __init__(
        self,
        tracking_uri: str,
        experiment: str,
        report: Callable[[], Mapping[str, bytes]] = dict,
        *,
        study_run: str | None = None,
        shared: bool = False,
    ) -> None:
        self._lent_run = study_run
        self._shared = shared
        self._report = report
        self.tracking_uri = tracking_uri
        self.experiment_id = ""
        self.run_id = ""
        self._experiment = experiment
        self._client: MlflowClient
        self._context: dict[str, str]
        self._runs: Runs
        self._study: StudyRun
        self._trials: dict[int, Shown] = {}
        # Trials of which a call failed.
        self._doubted: set[int] = set()
        # At so many trials the database has changed enough for its planner to be told.
        self._analyze_at = _FIRST_ANALYSIS
        # Whether a run may have been made after its answer was given up: it would be a second one.
        self._late = False

    def location(self) -> RunLocation:
        """Return where the study's run is, as far as it is known."""
        address = StoreAddress(self.tracking_uri)
        server = str(address)
        experiment, run = self.experiment_id or None, self.run_id or None
        if run is None or not address.is_server:
            return RunLocation(server, experiment, run)
        url = f"{server.rstrip('/')}/#/experiments/{self.experiment_id}/runs/{run}"
        view = views.page(server, self.experiment_id, self._uid)
        return RunLocation(server, experiment, run, url, view)

    def connect(self) -> None:
        """Open the store; make its schema where it is new."""
        new = mlflow_client.is_new(self.tracking_uri)
        self._client = mlflow_client.connect(self.tracking_uri)
        if new:
            database.enable_wal(self.tracking_uri)
        self._known_experiment()
        from mlflow.tracking.context.registry import resolve_tags

        # Here, since it takes its time: between finding no run and making one there is to be none.
        self._context = resolve_tags()

    def adopt(self, study: StudyRecord, *, thoroughly: bool = False) -> None:
        """Find or make the study's run, and learn what MLflow shows of its trials.

        Parameters
        ----------
        thoroughly
            Read the metrics of ended runs, too, and look for the report: somebody may have changed
            them by hand.
        """
        self.experiment_id = self._find_experiment()
        self._runs = Runs(self._client, self.experiment_id)
        self._uid, self._name = study.uid, study.name
        self._metrics, self._guide = (study.metric, *study.others), study.guide
        self._steps_param = study.steps_param
        found = runs_of(self._runs, self._uid)
        if not found and self._lent_run:
            found = [self._client.get_run(self._lent_run)]
        first = found[0] if found else None
        self._study = StudyRun(
            self._runs,
            study,
            first,
            self._context,
            self._report,
            lent=first is not None and self._is_lent(first),
        )
        self.run_id = self._study.id
        if thoroughly:
            self._study.forget_report()
        for second in found[1:]:
            if self._is_lent(second):
                self._client.delete_tag(second.info.run_id, KIND_TAG)
            else:
                self._runs.delete(second)
        self._trials, self._doubted = {}, set()
        for run in self._runs.search(_trials_of(self._uid)):
            number = int(run.data.tags[NUMBER_TAG])
            if number in self._trials:
                self._runs.delete(run)
                continue
            if run.data.tags.get(PARENT_TAG) != self.run_id:  # of a second run of the study
                self._client.set_tag(run.info.run_id, PARENT_TAG, self.run_id)
            # A run that somebody else ended may lack what is written before its end.
            unsure = run.data.tags.get(STATE_TAG) not in FINISHED_STATES
            self._trials[number] = self._runs.read(run, thoroughly=thoroughly or unsure)
        if not views.save(
            self._client, self.experiment_id, study, _trials_of(self._uid), STATE_TAG
        ):
            _logger.warning("this MLflow may know other views than we do: the study has none there")

    def write_study(self, study: StudyRecord) -> None:
        """Bring the study's run level with its record."""
        if self._shared:
            found = runs_of(self._runs, self._uid)
            if len(found) > 1 or (found and found[0].info.run_id != self.run_id):
                self.adopt(study)
        self._study.write(study)
        if study.state == "running":
            return
        database.analyze(self.tracking_uri)
        if self._shared:
            self.adopt(study)  # what two made at once is there once
        elif self._late:
            self.keep_only(self._trials)
            self._late = False

    def keep_only(self, numbers: Collection[int]) -> int:
        """Delete runs below the study's that stand for none of these trials, or for one twice.

        Of a shared study none: somebody else may just have made it for a trial that came since.

        Returns
        -------
        how many there were
        """
        if self._shared:
            return 0
        kept = {shown.run_id for number, shown in self._trials.items() if number in numbers}
        stray = [r for r in self._runs.search(_trials_of(self._uid)) if r.info.run_id not in kept]
        for run in stray:
            self._runs.delete(run)
        return len(stray)

    def delete(self, uid: str, check: Callable[[], None]) -> int:
        """Delete a study's view and its runs, as the UI deletes runs; return how many there were.

        The study's own run goes last. What is deleted with its experiment already is left so.
        `check` is called before each, and raises where the study is another's.
        """
        self._client = mlflow_client.connect(self.tracking_uri)
        experiment = self._client.get_experiment_by_name(self._experiment)
        if experiment is None or experiment.lifecycle_stage != "active":
            return 0
        runs = Runs(self._client, experiment.experiment_id)
        found = list(runs.search(f"tags.`{UID_TAG}` = '{uid}'"))
        for run in sorted(found, key=lambda run: run.data.tags.get(KIND_TAG) == "study"):
            check()
            runs.delete(run)
        views.delete(self._client, experiment.experiment_id, uid)
        return len(found)

    def run_of(self, number: int) -> str | None:
        """Return the id of a trial's run; ``None`` where MLflow shows none yet."""
        shown = self._trials.get(number)
        return None if shown is None else shown.run_id

    def write_trial(self, trial: TrialRecord) -> bool:
        """Bring a trial's run level with its record; return whether anything was to be done."""
        shown = self._trials.get(trial.number)
        if shown is not None and shown.is_whole and shown.status != _TRIAL_STATUS[trial.state]:
            self._doubted.add(trial.number)
        doubted = trial.number in self._doubted
        self._doubted.add(trial.number)  # until every call has got through
        changed = doubted or trial.number not in self._trials
        if changed:
            self._trials[trial.number] = self._find_or_create(trial, look=doubted)
        shown = self._trials[trial.number]
        metrics = {(self._guide, step): score for step, score in trial.scores.items()}
        last = trial.steps or max(trial.scores, default=0)
        values = () if trial.value is None else (trial.value, *trial.others)
        metrics |= {(name, last): value for name, value in zip(self._metrics, values, strict=False)}
        params = {name: str(value) for name, value in trial.params.items()}
        links = {REPEATS_TAG: trial.repeats, COPIES_TAG: trial.copies, REASON_TAG: trial.reason}
        tags = {**trial.attributes, STATE_TAG: str(trial.state)}
        tags |= {tag: str(value) for tag, value in links.items() if value is not None}
        if trial.state in FINISHED_STATES:
            if trial.steps is not None and self._steps_param is not None:
                params[self._steps_param] = str(trial.steps)
            if trial.fit_seconds is not None:
                metrics["fit_seconds", last] = trial.fit_seconds
        now = trial.ended or datetime.now(UTC)
        if len(self._trials) >= self._analyze_at:
            database.analyze(self.tracking_uri)
            self._analyze_at = 4 * len(self._trials)
        changed |= self._runs.write(shown, metrics, params, tags, now)
        changed |= self._runs.set_status(shown, _TRIAL_STATUS[trial.state], trial.ended)
        if trial.repeats in self._trials:
            link = {REPEATED_TAG: str(trial.number)}
            changed |= self._runs.write(self._trials[trial.repeats], {}, {}, link, now)
        self._doubted.discard(trial.number)
        return changed

    def _is_lent(self, run: "Run") -> bool:
        return run.info.run_id == self._lent_run or LENT_TAG in run.data.tags

    def _find_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        if self._lent_run:
            return str(self._client.get_run(self._lent_run).info.experiment_id)
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

    def _find_or_create(self, trial: TrialRecord, *, look: bool) -> Shown:
        found: list[Run] = []
        if look:
            number = f"tags.`{NUMBER_TAG}` = '{trial.number}'"
            found = list(self._runs.search(f"{_trials_of(self._uid)} and {number}"))
            self._late = True
        for second in found[1:]:
            self._runs.delete(second)
        if found:
            return self._runs.read(found[0])
        tags = {
            PARENT_TAG: self.run_id,
            KIND_TAG: "trial",
            STUDY_TAG: self._name,
            UID_TAG: self._uid,
            NUMBER_TAG: str(trial.number),
            STATE_TAG: trial.state,
        }
        return self._runs.create(f"trial-{trial.number:04d}", trial.started, tags)


def _trials_of(uid: str) -> str:
    return f"tags.`{UID_TAG}` = '{uid}' and tags.`{KIND_TAG}` = 'trial'"

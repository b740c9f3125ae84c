"""The MLflow mirror of one study: a run for the study and exactly one nested run for each trial.

The mirror writes only the difference between a record and what MLflow already shows. Writing a
record is therefore idempotent, and an outdated mirror is updated by writing every record again.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from storage import database
from storage.addresses import StoreAddress
from storage.errors import PermanentError
from storage.records import FINISHED_STATES, RunLocation, StudyRecord, TrialRecord
from storage.tracking import artifacts, views
from storage.tracking import client as mlflow_client
from storage.tracking.runs import Runs, Shown, is_active, search_everywhere
from storage.tracking.study_run import (
    KIND_TAG,
    LENT_TAG,
    STUDY_TAG,
    UID_TAG,
    StudyRun,
    condition_of,
    runs_of,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

_logger = logging.getLogger(__name__)

PARENT_TAG = "mlflow.parentRunId"
NUMBER_TAG = "optuna.trial.number"
STATE_TAG = "optuna.trial.state"
REASON_TAG = "grovekeeper.reason"
REPEATS_TAG = "grovekeeper.repeats"
REPEATED_TAG = "grovekeeper.repeated_by"
COPIES_TAG = "grovekeeper.copies"

# MLflow's own Optuna storage uses the same mapping.
_TRIAL_STATUS = {
    "WAITING": "SCHEDULED",
    "RUNNING": "RUNNING",
    "COMPLETE": "FINISHED",
    "PRUNED": "KILLED",
    "FAIL": "FAILED",
}
_FIRST_ANALYSIS = 200


class Mirror:
    """Writes the records of one study to MLflow. It is not thread-safe.

    The study's experiment is the one that has the study's run, whatever its name is now, or else
    the named one. If a user deleted the experiment or the run, the mirror restores them or raises
    `PermanentError`.

    Every method raises the errors of MLflow; the caller decides whether to retry. MLflow may have
    carried out a call that failed, so a retry first looks up the trial's run. It reads the run
    again, or creates a new one if the run does not exist or was deleted.

    Parameters
    ----------
    report
        Creates the report of the study and returns its files by name; called when the study has
        ended.
    uid
        The study's uid if the study exists already: `connect` then looks for its run.
    restore
        Whether to restore the experiment and the study's run if a user deleted them.
    study_run
        Id of an existing run to use as the study's run if the study has none yet. The mirror does
        not change the status and the note of this run.
    shared
        Whether other processes may write the runs of the same study. If two processes created a
        run for the same trial or study, all of them keep the same one.
    """

    def __init__(
        self,
        tracking_uri: str,
        experiment: str,
        report: Callable[[], Mapping[str, bytes]] = dict,
        *,
        uid: str = "",
        restore: bool = False,
        study_run: str | None = None,
        shared: bool = False,
    ) -> None:
        self._uid = uid
        self._restore = restore
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
        # Numbers of the trials for which a call failed: MLflow may have carried it out.
        self._uncertain: set[int] = set()
        # The number of trials at which the database has changed enough to be analyzed again.
        self._analyze_at = _FIRST_ANALYSIS
        # True if MLflow may have created a run after its request timed out: the trial then has two.
        self._late = False

    def location(self) -> RunLocation:
        """Return the location of the study's run, as far as it is known."""
        address = StoreAddress(self.tracking_uri)
        server = str(address)
        experiment, run = self.experiment_id or None, self.run_id or None
        if run is None or not address.is_server:
            return RunLocation(server, experiment, run)
        url = f"{server.rstrip('/')}/#/experiments/{self.experiment_id}/runs/{run}"
        view = views.page(server, self.experiment_id, self._uid)
        return RunLocation(server, experiment, run, url, view)

    def connect(self) -> None:
        """Open the store; create its schema if it is new."""
        new = mlflow_client.is_new(self.tracking_uri)
        self._client = mlflow_client.connect(self.tracking_uri)
        if new:
            database.enable_wal(self.tracking_uri)
        self._find_experiment()
        from mlflow.tracking.context.registry import resolve_tags

        # Resolving the tags is slow. It is done here because `adopt` must create a run immediately
        # after it has found none.
        self._context = resolve_tags()

    def check_artifacts(self) -> None:
        """Write, read and delete a small artifact; create the experiment if it is new.

        Raises
        ------
        DatabaseError
            If that fails, so that the study's model could not be stored. A new experiment is then
            deleted, because an experiment keeps the place of its artifacts.
        """
        known = self._find_experiment()
        experiment = self._client.get_experiment(known or self._create_experiment())
        try:
            artifacts.try_out(self._client, experiment)
        except Exception:
            if known is None:
                with suppress(Exception):
                    name = f"{experiment.name} {experiment.experiment_id}"
                    self._client.rename_experiment(experiment.experiment_id, name)
                    self._client.delete_experiment(experiment.experiment_id)
            raise

    def check_active(self) -> None:
        """Check that the study's run and its experiment were not deleted; restore them if wanted.

        Other threads may call this method once the study's run exists.

        Raises
        ------
        PermanentError
            If they were deleted, and are not to be restored.
        """
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(self.run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise PermanentError(
                f"the run of study '{self._name}' was deleted in MLflow for good: launch again to "
                "make the runs again"
            ) from error
        experiment = self._client.get_experiment(run.info.experiment_id)
        if not (is_active(run.info) and is_active(experiment)):
            self._restore_or_raise(experiment, run)

    def adopt(self, study: StudyRecord, *, thoroughly: bool = False) -> None:
        """Find or create the study's run, and read what MLflow shows of its trials.

        Parameters
        ----------
        thoroughly
            Also read the metrics of ended runs and look for the report, because a user may have
            changed them by hand.
        """
        self._uid, self._name = study.uid, study.name
        self.experiment_id = self._find_experiment() or self._create_experiment()
        self._runs = Runs(self._client, self.experiment_id)
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
        self._trials, self._uncertain = {}, set()
        for run in self._runs.search(_trials_of(self._uid)):
            number = int(run.data.tags[NUMBER_TAG])
            if number in self._trials:
                self._runs.delete(run)
                continue
            if run.data.tags.get(PARENT_TAG) != self.run_id:  # a duplicate is its parent
                self._client.set_tag(run.info.run_id, PARENT_TAG, self.run_id)
            # If another program ended the run, metrics that are written before its end may be
            # missing.
            unsure = run.data.tags.get(STATE_TAG) not in FINISHED_STATES
            self._trials[number] = self._runs.read(run, thoroughly=thoroughly or unsure)
        if not views.save(
            self._client, self.experiment_id, study, _trials_of(self._uid), STATE_TAG
        ):
            _logger.warning(
                "the study has no saved view: this MLflow version may store views differently"
            )

    def write_study(self, study: StudyRecord) -> None:
        """Update the study's run to match its record."""
        if self._shared:
            found = runs_of(self._runs, self._uid)
            if len(found) > 1 or (found and found[0].info.run_id != self.run_id):
                self.adopt(study)
        self._study.write(study)
        if study.state == "running":
            return
        database.analyze(self.tracking_uri)
        if self._shared:
            self.adopt(study)  # deletes runs that two processes created at the same time
        elif self._late:
            self.keep_only(self._trials)
            self._late = False

    def keep_only(self, numbers: Collection[int]) -> int:
        """Delete the trial runs of the study that belong to other trials or are duplicates.

        The runs of a shared study are kept: another process may have just created one for a newer
        trial.

        Returns
        -------
        number of deleted runs
        """
        if self._shared:
            return 0
        kept = {shown.run_id for number, shown in self._trials.items() if number in numbers}
        stray = [r for r in self._runs.search(_trials_of(self._uid)) if r.info.run_id not in kept]
        for run in stray:
            self._runs.delete(run)
        return len(stray)

    def delete(self, uid: str, check: Callable[[], None]) -> int:
        """Delete a study's view and its runs, as the UI deletes runs; return the number of runs.

        The study's own run is deleted last. If the experiment has been deleted, nothing changes.
        `check` is called before each deletion and raises if another process now owns the study.
        """
        self._client = mlflow_client.connect(self.tracking_uri)
        named = self._client.get_experiment_by_name(self._experiment)
        places = {named.experiment_id} if named is not None and is_active(named) else set()
        everywhere = search_everywhere(self._client, f"tags.`{UID_TAG}` = '{uid}'")
        found = [run for run in everywhere if is_active(run.info)]
        for run in sorted(found, key=lambda run: run.data.tags.get(KIND_TAG) == "study"):
            check()
            self._client.delete_run(run.info.run_id)
        for place in places | {run.info.experiment_id for run in found}:
            views.delete(self._client, place, uid)
        return len(found)

    def run_of(self, number: int) -> str | None:
        """Return the id of a trial's run; ``None`` if MLflow does not show one yet."""
        shown = self._trials.get(number)
        return None if shown is None else shown.run_id

    def write_trial(self, trial: TrialRecord) -> bool:
        """Update a trial's run to match its record; return whether anything changed."""
        shown = self._trials.get(trial.number)
        if shown is not None and shown.is_whole and shown.status != _TRIAL_STATUS[trial.state]:
            self._uncertain.add(trial.number)
        uncertain = trial.number in self._uncertain
        self._uncertain.add(trial.number)  # until every call has succeeded
        changed = uncertain or trial.number not in self._trials
        if changed:
            self._trials[trial.number] = self._find_or_create(trial, look=uncertain)
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
            if trial.rows is not None:
                metrics["rows", last] = trial.rows
            if trial.model_bytes is not None:
                metrics["model_bytes", last] = trial.model_bytes
        now = trial.ended or datetime.now(UTC)
        if len(self._trials) >= self._analyze_at:
            database.analyze(self.tracking_uri)
            self._analyze_at = 4 * len(self._trials)
        changed |= self._runs.write(shown, metrics, params, tags, now)
        changed |= self._runs.set_status(shown, _TRIAL_STATUS[trial.state], trial.ended)
        if trial.repeats in self._trials:
            link = {REPEATED_TAG: str(trial.number)}
            changed |= self._runs.write(self._trials[trial.repeats], {}, {}, link, now)
        self._uncertain.discard(trial.number)
        return changed

    def _is_lent(self, run: "Run") -> bool:
        return run.info.run_id == self._lent_run or LENT_TAG in run.data.tags

    def _find_experiment(self) -> str | None:
        """Return the id of the study's experiment; ``None`` if it is new."""
        if self._lent_run:
            return str(self._client.get_run(self._lent_run).info.experiment_id)
        named = self._client.get_experiment_by_name(self._experiment)
        if self._uid:
            if named is not None and is_active(named):
                runs = Runs(self._client, named.experiment_id)
                if runs_of(runs, self._uid):
                    return runs.experiment_id
            for run in search_everywhere(self._client, condition_of(self._uid))[:1]:
                experiment = self._client.get_experiment(run.info.experiment_id)
                if not (is_active(run.info) and is_active(experiment)):
                    self._restore_or_raise(experiment, run)
                elif experiment.name != self._experiment:
                    _logger.info(
                        "the study's runs are in the experiment '%s', not in '%s': they stay there",
                        experiment.name,
                        self._experiment,
                    )
                self._experiment = experiment.name
                return str(experiment.experiment_id)
        if named is None:
            return None
        if not is_active(named):
            self._restore_or_raise(named)
        return str(named.experiment_id)

    def _create_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        try:
            return str(self._client.create_experiment(self._experiment))
        except MlflowException:  # another process may have just created it
            known = self._find_experiment()
            if known is None:
                raise
            return known

    def _restore_or_raise(self, experiment: "Experiment", run: "Run | None" = None) -> None:
        """Restore a deleted experiment, or else a deleted run of a study in it."""
        gone, study = not is_active(experiment), run and run.data.tags.get(STUDY_TAG)
        what = f"the experiment '{experiment.name}'" if gone else f"the run of study '{study}'"
        if self._restore:
            if gone:
                self._client.restore_experiment(experiment.experiment_id)
            elif run is not None:
                self._client.restore_run(run.info.run_id)
            _logger.info("%s was deleted in MLflow and is restored", what)
            return
        if study:
            raise PermanentError(
                f"{what} was deleted in MLflow: `grovekeeper sync {study} --restore` restores it"
            )
        raise PermanentError(
            f"{what} was deleted in MLflow: restore it with --restore, or name another with "
            "--experiment"
        )

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

"""`MLflowMirror`: the mirror as a callback for any Optuna study."""

import atexit
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from storage.errors import DatabaseError, StorageError
from storage.records import StudyState
from storage.redaction import cause_of, redact
from storage.studies.foreign import foreign_study, foreign_trial, foreign_uid
from storage.tracking import client as mlflow_client
from storage.tracking.failures import explain
from storage.tracking.mirror import Mirror
from storage.tracking.mirror_writer import MirrorWriter

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial, Trial

T = TypeVar("T")

_logger = logging.getLogger(__name__)

# Minimum number of seconds between two reads of the whole study, which update the counts and the
# best value of the study's run.
_STUDY_EVERY = 1.0
# Minimum pause between two reads, as a multiple of the duration of a read.
_PAUSE_PER_READ = 20
# Seconds to wait for MLflow before `close` gives up or a tracked trial fails.
_PATIENCE = 30.0


class MLflowMirror:
    """Shows a study's trials in MLflow: one nested run for each trial, below a run for the study.

    Pass it to ``study.optimize`` as a callback, with any number of jobs. Close it at the end or use
    it in a ``with`` statement; it is also closed when the process ends::

        with MLflowMirror() as mirror:
            study.optimize(objective, n_trials=100, n_jobs=4, callbacks=[mirror])

    A thread writes to MLflow, so no trial waits for it, and an outage of MLflow only delays the
    runs. Optuna calls no callback for a trial whose exception ends ``optimize``: ``close`` writes
    such trials. If a process died, ``grovekeeper --storage URL sync STUDY`` writes them. A mirror
    serves one study, and each process needs its own mirror.

    Parameters
    ----------
    tracking_uri
        Address of MLflow's store; default: the address that MLflow is configured to use.
    experiment
        Name of the experiment, which is created if it is missing; default: the study's name.
    study_run
        Id of an existing run, such as your active run, to use as the parent run. It may belong to
        any experiment, and its status and its note are not changed. Default: a new run with the
        study's name.
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        *,
        experiment: str | None = None,
        study_run: str | None = None,
    ) -> None:
        self._tracking_uri = tracking_uri
        self._experiment = experiment
        self._study_run = study_run
        self._lock = threading.RLock()
        self._following: _MirroredStudy | None = None

    def __call__(self, study: "optuna.Study", trial: "FrozenTrial") -> None:
        """Show a trial that has ended; Optuna calls this method as a callback.

        Raises
        ------
        StorageError
            If the mirror already shows another study.
        """
        self._follow(study).take(trial)

    def track(self, objective: "Callable[[Trial], T]") -> "Callable[[Trial], T]":
        """Wrap an objective so that its trial's run is MLflow's active run while it executes.

        ``mlflow.log_metric`` and ``mlflow.log_artifact`` in the objective then write to the trial's
        run. The mirror still writes the status and the scores of the run.

        Raises
        ------
        DatabaseError
            If MLflow does not answer within 30 seconds; the wrapped objective raises it.
        """

        @wraps(objective)
        def tracked(trial: "Trial") -> T:
            study, number = trial.study, trial.number
            frozen = study.get_trials(deepcopy=False)[number]
            with self._follow(study).running(frozen):
                return objective(trial)

        return tracked

    def close(self, state: StudyState = "finished") -> None:
        """Write the remaining records; end the study's run with `state` if no trial is running."""
        with self._lock:
            following, self._following = self._following, None
        if following:
            atexit.unregister(self.close)
            following.close(state)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.close("failed" if issubclass(kind, Exception) else "interrupted")

    def _follow(self, study: "optuna.Study") -> "_MirroredStudy":
        with self._lock:
            if self._following is None:
                uri = self._tracking_uri or mlflow_client.default_uri()
                name = self._experiment or study.study_name
                make = partial(Mirror, uri, name, study_run=self._study_run, shared=True)
                self._following = _MirroredStudy(study, make)
                atexit.register(self.close)
            self._following.check_same(study)
            return self._following


class _MirroredStudy:
    """A study that is mirrored, from the first call of the mirror until it is closed."""

    def __init__(self, study: "optuna.Study", make_mirror: Callable[[], Mirror]) -> None:
        self._study = study
        self._uid = foreign_uid(study)
        self._make_mirror = make_mirror
        self._mirror_writer = MirrorWriter(make_mirror())
        self._lock = threading.Lock()
        self._taken: set[int] = set()
        self._due = 0.0
        self._warned = False

    def check_same(self, study: "optuna.Study") -> None:
        """Raise `StorageError` if `study` is another study."""
        if study.study_name != self._study.study_name:
            raise StorageError(
                f"this MLflowMirror shows study '{self._study.study_name}': close it, or make "
                f"another one for '{study.study_name}'"
            )

    def take(self, trial: "FrozenTrial") -> None:
        """Queue a trial, and from time to time the counts of the study."""
        with self._lock:
            if trial.state.is_finished():
                self._taken.add(trial.number)
            self._mirror_writer.put_trial(foreign_trial(trial))
            began = time.monotonic()
            if began >= self._due:
                self._mirror_writer.put_study(foreign_study(self._study, self._uid, "running"))
                ended = time.monotonic()
                self._due = ended + max(_STUDY_EVERY, _PAUSE_PER_READ * (ended - began))
            failure = self._mirror_writer.failure
            if failure and not self._warned:
                _logger.warning("%s; trying again", failure)
            self._warned = failure is not None

    @contextmanager
    def running(self, trial: "FrozenTrial") -> Iterator[None]:
        """Create a trial's run and make it MLflow's active run within the block."""
        self.take(trial)
        self._mirror_writer.wait_level(_PATIENCE)
        mirror = self._mirror_writer.mirror
        run = mirror.run_of(trial.number)
        if run is None:
            raise self._mirror_writer.failure or DatabaseError(
                f"MLflow at {redact(mirror.tracking_uri)} has not answered within {_PATIENCE:g} s"
            )
        import mlflow
        from mlflow.exceptions import MlflowException

        if mlflow.get_tracking_uri() != mirror.tracking_uri:
            mlflow.set_tracking_uri(mirror.tracking_uri)
        try:
            active = mlflow.start_run(run_id=run, nested=True)
        except MlflowException as error:
            if "active experiment ID" not in str(error):
                raise explain(mirror.tracking_uri, error) from error
            raise StorageError(
                "mlflow.set_experiment names another experiment than the study's runs are in: give "
                "its name to MLflowMirror(experiment=...), or leave set_experiment out"
            ) from error
        with active:
            yield

    def close(self, state: StudyState) -> None:
        """Write the trials that no callback was called for and the final state of the study.

        The study continues while other processes run trials; the last process that closes it ends
        its run.
        """
        try:
            level = self._mirror_writer.close(_PATIENCE)
            while level:
                trials = self._study.get_trials(deepcopy=False)
                goes_on = any(trial.state.name == "RUNNING" for trial in trials)
                level = self._level(trials, "running" if goes_on else state)
                if not goes_on or self._is_running():
                    break
        except Exception as error:
            _logger.warning(
                "study '%s' cannot be read: %s", self._study.study_name, cause_of(error)
            )
            return
        if not level:
            failure = self._mirror_writer.failure
            why = f" ({failure})" if failure else ""
            _logger.warning(
                "MLflow is %d runs behind%s: if the study is stored in a database, "
                "`grovekeeper sync %s` writes them",
                self._mirror_writer.behind,
                why,
                self._study.study_name,
            )

    def _level(self, trials: "Iterable[FrozenTrial]", state: StudyState) -> bool:
        """Write the missing trials; a new `MirrorWriter` reads what other mirrors have written."""
        self._mirror_writer = MirrorWriter(self._make_mirror())
        self._mirror_writer.put_study(foreign_study(self._study, self._uid, state))
        for trial in trials:
            if trial.state.is_finished() and trial.number not in self._taken:
                self._mirror_writer.put_trial(foreign_trial(trial))
        return self._mirror_writer.close(_PATIENCE)

    def _is_running(self) -> bool:
        return any(t.state.name == "RUNNING" for t in self._study.get_trials(deepcopy=False))

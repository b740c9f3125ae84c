"""`MLflowMirror`: the mirror as a callback, for whoever optimises anything with Optuna."""

import atexit
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from storage.errors import DatabaseError, StorageError, first_line
from storage.records import StudyState
from storage.redaction import redact
from storage.studies.foreign import foreign_study, foreign_trial, foreign_uid
from storage.tracking import client as mlflow_client
from storage.tracking.mirror import Mirror
from storage.tracking.mirror_writer import MirrorWriter

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial, Trial

T = TypeVar("T")

_logger = logging.getLogger(__name__)

# Seconds between two looks at the whole study, whose counts and best value its own run shows.
_STUDY_EVERY = 1.0
# and the least such pause in times of what a look took.
_SHARE = 20
# Seconds for which MLflow may not answer before the end goes on without it, or a tracked trial.
_PATIENCE = 30.0


class MLflowMirror:
    """Shows a study's trials in MLflow: one nested run each, below a run for the study.

    Give it to ``study.optimize`` among the callbacks, of any number of jobs, and close it at the
    end, or let a ``with`` do so; the end of the process closes it, too::

        with MLflowMirror() as mirror:
            study.optimize(objective, n_trials=100, n_jobs=4, callbacks=[mirror])

    A thread writes to MLflow: no trial waits for it, and while it does not answer the runs are only
    late. Optuna calls no callback for a trial whose exception ends ``optimize``: closing looks for
    such trials, and where a process died, ``grovekeeper --storage URL sync STUDY`` does. One mirror
    serves one study; of several processes each has its own.

    Parameters
    ----------
    tracking_uri
        Address of MLflow's store; default: as MLflow is set.
    experiment
        Its name, made where it is missing; default: the study's name.
    study_run
        Id of a run that is to be the parent, such as an active one of yours, in whatever experiment
        it is; its status and its note stay yours. Default: a run of the study's name.
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
        self._following: _Following | None = None

    def __call__(self, study: "optuna.Study", trial: "FrozenTrial") -> None:
        """Take a trial that has ended, as Optuna's callbacks do.

        Raises
        ------
        StorageError
            When it mirrors another study already.
        """
        self._follow(study).take(trial)

    def track(self, objective: "Callable[[Trial], T]") -> "Callable[[Trial], T]":
        """Wrap an objective: its trial's run is there, and MLflow's active one, while it runs.

        So ``mlflow.log_metric`` and ``mlflow.log_artifact`` in the objective write to the trial's
        run. Its status and its scores stay the mirror's.

        Raises
        ------
        DatabaseError
            From the objective, when MLflow does not answer within half a minute.
        """

        @wraps(objective)
        def tracked(trial: "Trial") -> T:
            study, number = trial.study, trial.number
            frozen = study.get_trials(deepcopy=False)[number]
            with self._follow(study).running(frozen):
                return objective(trial)

        return tracked

    def close(self, state: StudyState = "finished") -> None:
        """Write what is left, and end the study's run as `state` unless trials run elsewhere."""
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

    def _follow(self, study: "optuna.Study") -> "_Following":
        with self._lock:
            if self._following is None:
                uri = self._tracking_uri or mlflow_client.default_uri()
                name = self._experiment or study.study_name
                make = partial(Mirror, uri, name, study_run=self._study_run, shared=True)
                self._following = _Following(study, make)
                atexit.register(self.close)
            self._following.check_same(study)
            return self._following


class _Following:
    """A study that is mirrored, from the first call to the end."""

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
        """Raise `StorageError` where this is another study."""
        if study.study_name != self._study.study_name:
            raise StorageError(
                f"this MLflowMirror shows study '{self._study.study_name}': close it, or make "
                f"another one for '{study.study_name}'"
            )

    def take(self, trial: "FrozenTrial") -> None:
        """Hand a trial over, and the study's counts now and then."""
        with self._lock:
            if trial.state.is_finished():
                self._taken.add(trial.number)
            self._mirror_writer.put_trial(foreign_trial(trial))
            began = time.monotonic()
            if began >= self._due:
                self._mirror_writer.put_study(foreign_study(self._study, self._uid, "running"))
                ended = time.monotonic()
                self._due = ended + max(_STUDY_EVERY, _SHARE * (ended - began))
            failure = self._mirror_writer.failure
            if failure and not self._warned:
                _logger.warning("%s; trying again", failure)
            self._warned = failure is not None

    @contextmanager
    def running(self, trial: "FrozenTrial") -> Iterator[None]:
        """Make a trial's run, and make it MLflow's active one within the block."""
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
                raise mlflow_client.explain(mirror.tracking_uri, error) from error
            raise StorageError(
                "mlflow.set_experiment names another experiment than the study's runs are in: give "
                "its name to MLflowMirror(experiment=...), or leave set_experiment out"
            ) from error
        with active:
            yield

    def close(self, state: StudyState) -> None:
        """Hand over what no callback was called for, and how the study ended; wait for all of it.

        Where trials run elsewhere the study goes on: whoever is the last to close it ends its run.
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
                "study '%s' cannot be read: %s", self._study.study_name, first_line(error)
            )
            return
        if not level:
            failure = self._mirror_writer.failure
            why = f" ({failure})" if failure else ""
            _logger.warning(
                "MLflow is %d runs behind%s: where the study is kept in a database, "
                "`grovekeeper sync %s` brings it level",
                self._mirror_writer.behind,
                why,
                self._study.study_name,
            )

    def _level(self, trials: "Iterable[FrozenTrial]", state: StudyState) -> bool:
        """Write what this mirror has not; a new recorder knows what others have written."""
        self._mirror_writer = MirrorWriter(self._make_mirror())
        self._mirror_writer.put_study(foreign_study(self._study, self._uid, state))
        for trial in trials:
            if trial.state.is_finished() and trial.number not in self._taken:
                self._mirror_writer.put_trial(foreign_trial(trial))
        return self._mirror_writer.close(_PATIENCE)

    def _is_running(self) -> bool:
        return any(t.state.name == "RUNNING" for t in self._study.get_trials(deepcopy=False))

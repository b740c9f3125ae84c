"""One launch of a study, from its specification to the registered model."""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

from search.environment import cores
from search.errors import StudyError
from search.forest.fitting import GrowElsewhere, Part
from search.forest.memory import check_memory
from search.formatting import runs_behind
from search.model.champion import MIN_TREES, TreeCost, affordable_trees, forecast_seconds
from search.model.finalize import MAKING, Finalizer
from search.model.serialization import check_encoder
from search.monitoring.observer import Observer, StopSource
from search.monitoring.status import SearchStatus
from search.optimization.coordinator import Coordinator, End
from search.optimization.plan import make_plan
from search.report import report_files
from search.report.run_note import study_record
from search.report.summary import StudySummary, summarize
from search.service.supervisor import Supervisor
from search.stores import Stores
from search.study.choice import choice_message, choose
from search.study.notes import (
    MirrorNote,
    Request,
    Seconds,
    StudyNotes,
    read_initialized,
    read_notes,
    updated,
)
from search.study.problem import Problem, create_study, find_study, initialize_study, load_problem
from search.study.spec import StudySpec
from search.workers.factory import prepare, scheduler_of, workers_for
from search.workers.task_sizing import TaskSizer
from storage import database
from storage.errors import LeaseLostError, PermanentError
from storage.leases.lease import Lease
from storage.records import StudyState, TrialRecord
from storage.studies.study import Study
from storage.studies.trial_writer import TrialWriter
from storage.tracking import artifacts
from storage.tracking import client as mlflow_client
from storage.tracking.failures import explained
from storage.tracking.mirror import Mirror
from storage.tracking.mirror_writer import MirrorWriter

_logger = logging.getLogger(__name__)

# Seconds for which a launch waits at its end for a mirror that is behind: first without a message,
# then with one (counted again from each run that reaches MLflow), and after an interruption.
_QUIET_WAIT = 5.0
_MIRROR_TIMEOUT = 60.0
_INTERRUPTED_WAIT = 5.0
# Seconds between two notes in the database on the details of a phase.
_PHASE_INTERVAL = 5.0
# Seconds (`sys.setswitchinterval`).
_SWITCH_INTERVAL = 0.0005


@mlflow_client.without_autologging()
def launch(
    spec: StudySpec,
    stores: Stores,
    observer: Observer,
    stop: StopSource,
    *,
    succeeds: bool = False,
) -> StudySummary:
    """Start or continue a study, and register its champion.

    Parameters
    ----------
    stop
        Polled several times a second during the search; a request ends it cleanly, without a
        champion.
    succeeds
        Whether this launch replaces one that died: it then obeys a stop request that was made to
        that one.

    Returns
    -------
    the study's summary

    Raises
    ------
    SearchError, StorageError
        If the launch fails. The message says in one line what failed and what to do.
    """
    started = time.monotonic()
    prepare(spec)
    for warning in stores.check():
        _logger.warning("%s", warning)
    problem = load_problem(spec)
    if spec.register_model:
        check_encoder(problem.dataset)
    study = find_study(problem, stores.storage)
    memory = None
    if scheduler_of(spec) is None:
        memory = check_memory(problem.training_set, spec.workers or cores())
    for note in (*problem.notes, memory):
        if note is not None:
            _logger.info("%s", note)

    def report() -> dict[str, bytes]:
        # Called by the mirror's writer after it has received the study's record: the study exists.
        return report_files(cast("Study", study))

    experiment = (study and read_notes(study).experiment) or spec.experiment
    if experiment != spec.experiment:
        _logger.warning("the study's runs are in the experiment '%s': it stays there", experiment)
    uid = "" if study is None else study.uid
    mirror = Mirror(stores.tracking_uri, experiment, report, uid=uid, restore=spec.restore)
    mirror_writer = MirrorWriter(mirror)
    try:
        _check_mirror(mirror_writer, with_artifacts=spec.register_model)
        study = study or create_study(problem, stores.storage)
        # The writer is closed before the lease is released: the next holder has its own writer.
        lease = Lease(study.book.leases, spec.study)
        with lease, closing(mirror_writer), _short_switch_interval():
            mirror_writer.guard(lease.check)
            if succeeds and study.is_asked_to_stop(lease.epoch - 1):
                study.write(StudyNotes(stop=lease.epoch))
            initialize_study(problem, study)
            _Launch(problem, stores, study, mirror_writer, observer, lease, stop).run(started)
        return summarize(study)
    finally:
        mirror_writer.close()


def _check_mirror(mirror_writer: MirrorWriter, *, with_artifacts: bool) -> None:
    """Check that MLflow will take the runs and the model; a new store is made later."""
    mirror = mirror_writer.mirror
    if mlflow_client.is_new(mirror.tracking_uri):
        if with_artifacts:
            artifacts.check_folder(Path(artifacts.DEFAULT_FOLDER))
        return
    mirror_writer.wait_connected()
    if with_artifacts:
        with explained(mirror.tracking_uri):
            mirror.check_artifacts()


@contextmanager
def _short_switch_interval() -> Iterator[None]:
    """Switch between Python's threads more often than every 5 ms, the default.

    The mirror's writer imports and writes while this thread answers workers: each of its many
    short waits for SQLite would cost a whole interval.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


class _Launch:
    """A launch that holds its lease: reports progress to database, mirror and observer."""

    def __init__(
        self,
        problem: Problem,
        stores: Stores,
        study: Study,
        mirror_writer: MirrorWriter,
        observer: Observer,
        lease: Lease,
        stop: StopSource,
    ) -> None:
        self._problem = problem
        self._stores = stores
        self._study = study
        self._mirror_writer = mirror_writer
        self._observer = observer
        self._lease = lease
        self._stop = stop
        self._stop_requested = False
        self._said_failure = False
        # Seconds of a core for a tree of the best forest; 0 if this launch has grown none.
        self._tree_cost = TreeCost()
        # Grows the champion; None if it grows in this process.
        self._grow: GrowElsewhere | None = None
        # Number of trees of the champion that grow at the same time.
        self._jobs: Callable[[], int] = lambda: problem.spec.workers or cores()
        # Monotonic time at which the current phase was last noted in the database.
        self._shown = 0.0
        self._notes = read_initialized(study)
        # Some of the seconds are the sum over all launches, the others those of the last one.
        self._before = self._seconds = self._notes.seconds
        self._known = study.trials()
        self._status = SearchStatus(
            study.name,
            problem.metric.name,
            problem.metric.direction,
            problem.spec.trials,
            self._known,
            began=time.monotonic(),
            behind=lambda: mirror_writer.behind,
            guide=problem.metric.guide,
        )
        self._statistics = self._status.statistics
        self._growing = sum(trial.fit_seconds or 0.0 for trial in self._known)

    def run(self, started: float) -> None:
        """Search, make the champion, and wait for the mirror."""
        self._took(Seconds(prepare=round(time.monotonic() - started, 2)))
        spec = self._problem.spec
        asked = Request(model=spec.model, trees=spec.trees, champion=spec.champion)
        self._write(StudyNotes(goal=spec.trials, asked=asked))
        self._write(StudyNotes(state="running"))
        self._set_phase("searching")
        state: StudyState
        try:
            with ExitStack() as workers:
                end = self._search(started, workers)
                if end != "stopped":
                    self._finalize(end, started)
            if end == "stopped":
                state = "stopped" if self._stop_requested else "interrupted"
                self._finish(state, started, interrupted=True)
            else:
                state = "stopped" if end == "timeout" else "finished"
                self._finish(state, started)
        except LeaseLostError:
            raise  # another process coordinates the study now: write nothing more
        except Exception:
            with suppress(Exception):  # report the first error, even if this fails as well
                self._finish("failed", started, interrupted=True)
            raise
        except BaseException:  # a signal outside the search
            self._finish("interrupted", started, interrupted=True)
            raise
        finally:
            self._observer.end()

    def _search(self, started: float, stack: ExitStack) -> End:
        """Run the trials; if the workers can grow the champion, leave them open on the stack."""
        spec, problem = self._problem.spec, self._problem
        clock = time.monotonic()
        self._observer.begin(self._status)
        if self._statistics.finished >= spec.trials and not self._statistics.counts["running"]:
            self._open_mirror()
            if scheduler_of(spec) is not None:
                self._grow = partial(self._grow_on_cluster, stack)
            return "finished"
        rows = problem.training_set
        trees = MIN_TREES if spec.trees == "auto" else spec.trees
        plan = make_plan(problem, started, lambda cost: forecast_seconds(trees, cost, self._jobs()))
        self._status.deadline = plan.deadline
        trial_writer = TrialWriter(
            self._study, problem.space, self._lease.check, self._take_written
        )
        try:
            workers = stack.enter_context(workers_for(spec, self._study.uid, self._lease.check))
            workers.load(rows)
            self._grow = workers.forest_grower
            if self._grow is not None:
                self._jobs = workers.count
            self._took(Seconds(start_workers=round(time.monotonic() - clock, 2)))
            clock = time.monotonic()
            task_sizer = TaskSizer(workers.count, rows.X.size)
            supervisor = Supervisor(
                self._study,
                self._lease.epoch,
                workers,
                self._stop,
                self._observer,
                self._status,
                self._mirror,
            )
            coordinator = Coordinator(
                plan, workers, task_sizer, self._known, trial_writer.put, supervisor.should_stop
            )
            supervisor.growing = coordinator.growing
            self._stop.polled = True
            self._open_mirror()
            end = coordinator.run()
            self._tree_cost = coordinator.tree_cost
            self._stop_requested = supervisor.stop_requested
            trial_writer.flush()
            if self._grow is None:
                stack.close()  # local workers hold memory that the champion needs
            return end
        finally:
            self._stop.polled = False
            trial_writer.close()
            search = _add(self._before.search, time.monotonic() - clock)
            self._took(Seconds(search=search, growing=round(self._growing, 2)))

    def _grow_on_cluster(
        self, stack: ExitStack, params: Mapping[str, Any], seed: int, trees: int
    ) -> Iterator[Part]:
        """Grow the champion on a cluster to which this launch has not connected before."""
        problem = self._problem
        workers = workers_for(problem.spec, self._study.uid, self._lease.check)
        stack.enter_context(workers).load(problem.training_set)
        return cast("GrowElsewhere", workers.forest_grower)(params, seed, trees)

    def _take_written(self, record: TrialRecord) -> None:
        """Take a trial's record as it was written to the database; called by the writer."""
        self._status.take(record)
        self._growing += record.fit_seconds or 0.0
        self._mirror_writer.put_trial(record)
        self._observer.changed()
        if record.state != "RUNNING":
            self._record()

    def _open_mirror(self) -> None:
        """Pass the study and its finished trials to the mirror, which imports MLflow and starts.

        Trials that a dead coordinator left running are not passed: the coordinator of this launch
        ends them, and their records reach the mirror through the trial writer, perhaps earlier.
        """
        self._record()
        for record in self._known:
            if record.state != "RUNNING":
                self._mirror_writer.put_trial(record)

    def _record(self) -> None:
        """Pass the study's record to the mirror."""
        record = study_record(self._study, self._notes, self._statistics, self._status.state)
        self._mirror_writer.put_study(record)

    def _write(self, notes: StudyNotes) -> None:
        """Write notes on the study to its database."""
        database.retry_write(lambda: self._study.write(notes), self._stores.storage)
        self._notes = updated(self._notes, notes)

    def _took(self, seconds: Seconds) -> None:
        self._seconds = updated(self._seconds, seconds)

    def _set_phase(self, doing: str) -> None:
        """Publish the current phase to this launch's observer and, in the database, to others."""
        self._status.doing = doing
        self._write(StudyNotes(doing=doing))

    def _mirror(self) -> MirrorNote:
        """Return the state of the mirror: runs, missing runs, and where they are.

        If it waits for the user, who must restore a run for instance, say so once.
        """
        failure = self._mirror_writer.failure
        if isinstance(failure, PermanentError) and not self._said_failure:
            self._said_failure = True
            _logger.warning(
                "%s. The search does not need it: no trial is lost",
                failure,
                extra={"cause": failure},
            )
        behind = self._mirror_writer.behind
        runs = max(0, sum(self._statistics.counts.values()) - behind)
        return MirrorNote.at(self._mirror_writer.mirror.location(), runs=runs, behind=behind)

    def _finalize(self, end: End, started: float) -> None:
        """Make and register the champion, within the time limit if there is one."""
        best, spec = self._statistics.candidate, self._problem.spec
        if best is None:
            within = f" within {spec.timeout:g} s: raise --timeout" if end == "timeout" else ""
            raise StudyError(f"study '{spec.study}': no trial was scored{within}")
        self._set_phase(MAKING)
        chosen = choose(best, self._study.trials, self._study.direction, spec.champion)
        if chosen.number != best.number:
            _logger.info("%s", choice_message(chosen, best, self._problem.metric.name))
        fitting = None
        if spec.timeout is not None and self._tree_cost.seconds:
            left = started + spec.timeout - time.monotonic()
            fitting = affordable_trees(left, self._tree_cost, self._jobs())
        finalizer = Finalizer(
            self._problem, self._study, self._mirror_writer, self._lease.check, self._write
        )
        self._took(finalizer.finalize(chosen, fitting, self._grow, self._show))

    def _show(self, doing: str) -> None:
        """Show the current phase, and details after a comma; details are noted less often."""
        now = time.monotonic()
        same = doing.partition(",")[0] == self._status.doing.partition(",")[0]
        if same and now - self._shown < _PHASE_INTERVAL:
            self._status.doing = doing
        else:
            self._shown = now
            self._set_phase(doing)
        self._observer.changed()

    def _finish(self, state: StudyState, started: float, *, interrupted: bool = False) -> None:
        """Wait for the mirror, and note its state; only a few seconds after an interruption."""
        if not interrupted:
            self._set_phase("waiting for MLflow")
        self._status.state = state
        self._record()
        level = self._mirror_writer.wait_level(_INTERRUPTED_WAIT if interrupted else _QUIET_WAIT)
        permanent = isinstance(self._mirror_writer.failure, PermanentError)
        if not level and not interrupted and not permanent:
            _logger.info(
                "waiting for MLflow, %s (Ctrl-C leaves the rest to `grovekeeper sync %s`)",
                runs_behind(self._mirror_writer.behind),
                self._study.name,
            )
            level = self._mirror_writer.wait_level(_MIRROR_TIMEOUT, steadily=True)
        mirror = self._mirror()
        self._took(Seconds(total=_add(self._before.total, time.monotonic() - started)))
        self._write(StudyNotes(mirror=mirror))
        self._write(StudyNotes(seconds=self._seconds))
        self._write(StudyNotes(state=state))
        if not level and state != "failed":  # the error is the message then
            failure = self._mirror_writer.failure
            why = f" ({failure})" if failure else ""
            text = f"MLflow is {runs_behind(mirror.behind)}{why}"
            _logger.warning("%s", text, extra={"cause": failure})


def _add(before: float | None, seconds: float) -> float:
    return round((before or 0.0) + seconds, 2)

"""One launch of a study, from its specification to the registered model."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol

from search import cluster
from search.champion import champion_size, make_champion, remarks
from search.errors import StudyError, UsageError
from search.memory import check_memory
from search.metrics import Metric
from search.problem import Problem, find_study, make_study, pose, settle
from search.registration import find_version, register
from search.space import forest_of
from search.spec import StudySpec
from search.study import Coordinator, End, Plan
from search.summary import summarize
from search.tasks import Pace
from search.warm_starts import warm_starts
from storage import database, mlflow_store
from storage.errors import LeaseLostError
from storage.lease import Lease
from storage.ledger import Ledger
from storage.progress import Progress
from storage.recorder import Recorder
from storage.records import StudyState, TrialRecord
from storage.registry import Registry
from storage.studies import Study, study_record
from storage.tracking import Mirror

# Seconds that a launch waits at its end for a mirror that is behind.
_MIRROR_PATIENCE = 60.0
_INTERRUPT_PATIENCE = 5.0


@dataclass(frozen=True)
class Stores:
    """Addresses of Optuna's database and of MLflow's store."""

    storage: str
    tracking_uri: str


class Watcher(Protocol):
    """Who is told what happens while it happens."""

    def say(self, text: str) -> None:
        """Take a sentence on something decided or noticed."""

    def begin(self, trials: list[TrialRecord], goal: int, metric: Metric) -> None:
        """The search begins, with the trials that are there already."""

    def trial(self, record: TrialRecord) -> None:
        """A trial has changed."""

    def end(self) -> None:
        """The search has ended."""


class StopRequest(Protocol):
    """Who may ask for an early end."""

    patient: bool

    def requested(self) -> bool:
        """Whether the search is to end. Asked only while `patient` is set."""


def launch(spec: StudySpec, stores: Stores, watcher: Watcher, stop: StopRequest) -> dict[str, Any]:
    """Start a study or go on with it, and register its champion.

    Parameters
    ----------
    stop
        Asked several times a second while trees grow; a request ends the search cleanly, with no
        champion.

    Returns
    -------
    the study's summary, as `grovekeeper show --json` prints it

    Raises
    ------
    SearchError, StorageError
        With one line that says what was wrong and what to do.
    """
    started = time.monotonic()
    cluster.prepare()
    _check_stores(stores)
    problem = pose(spec)
    study = find_study(problem, stores.storage)
    memory = check_memory(problem.rows, spec.workers or cluster.cores())
    for note in (*problem.notes, memory):
        if note is not None:
            watcher.say(note)
    recorder = Recorder(Mirror(stores.tracking_uri, spec.experiment))
    if not mlflow_store.is_new(stores.tracking_uri):
        recorder.wait_connected()
    try:
        study = study or make_study(problem, stores.storage)
        with Lease(study.book.rdb.engine, spec.study) as lease:
            settle(problem, study)
            _Launch(problem, stores, study, recorder, watcher, lease.check, stop).run(started)
        return summarize(study)
    finally:
        recorder.close(0)


def _check_stores(stores: Stores) -> None:
    if stores.storage == stores.tracking_uri:
        msg = (
            f"--storage and --tracking-uri are both {database.masked(stores.storage)}: "
            "Optuna and MLflow need a database each"
        )
        raise UsageError(msg)
    mlflow_store.check(stores.tracking_uri)
    database.parse(stores.storage)
    database.check_writable(stores.storage)


class _Launch:
    """A launch under way, under its lease: tells database, mirror and watcher what happens."""

    def __init__(
        self,
        problem: Problem,
        stores: Stores,
        study: Study,
        recorder: Recorder,
        watcher: Watcher,
        check: Callable[[], None],
        stop: StopRequest,
    ) -> None:
        self._problem = problem
        self._stores = stores
        self._study = study
        self._recorder = recorder
        self._watcher = watcher
        self._check = check
        self._stop = stop
        self._state: StudyState = "running"
        self._notes = study.notes()
        self._seconds: dict[str, float] = {}
        self._known = study.trials()
        self._progress = Progress(problem.metric.direction, self._known)
        self._growing = sum(trial.fit_seconds or 0.0 for trial in self._known)

    def run(self, started: float) -> None:
        """Search, make the champion, and bring the mirror level."""
        self._seconds["prepare"] = round(time.monotonic() - started, 2)
        self._note("goal", self._problem.spec.trials)
        self._note("state", "running")
        self._record()
        for record in self._known:
            self._recorder.put_trial(record)
        try:
            end = self._search()
            if end == "stopped":
                self._finish("interrupted", started, _INTERRUPT_PATIENCE)
            else:
                self._crown(end)
                self._finish("stopped" if end == "timeout" else "finished", started)
        except LeaseLostError:
            raise  # the study is another's now: not a word more, to the database or to MLflow
        except Exception:
            with suppress(Exception):  # whatever else is broken, the first error is the one to tell
                self._finish("failed", started)
            raise
        except BaseException:  # a signal outside the search
            self._finish("interrupted", started, _INTERRUPT_PATIENCE)
            raise

    def _search(self) -> End:
        spec, problem = self._problem.spec, self._problem
        clock = time.monotonic()
        self._watcher.begin(self._known, spec.trials, problem.metric)
        if self._progress.finished >= spec.trials and not self._progress.counts["running"]:
            return "finished"
        rows = problem.rows
        n_rows, n_features = rows.X.shape
        first, kept = warm_starts(problem.dataset.task, n_rows, n_features, problem.space)
        plan = Plan(
            space=problem.space,
            forest_of=partial(forest_of, n_rows=n_rows, n_features=n_features),
            metric=problem.metric,
            rungs=problem.resampling.rungs,
            chunk=rows.chunk,
            seed=spec.seed,
            trials=spec.trials,
            first=first,
            kept=kept,
            deadline=None if spec.timeout is None else clock + spec.timeout,
        )
        ledger = Ledger(self._study, problem.space, self._check, self._entered)
        try:
            with cluster.Workers(spec.workers or cluster.cores()) as workers:
                workers.load(rows)
                self._seconds["start_workers"] = round(time.monotonic() - clock, 2)
                clock = time.monotonic()
                pace = Pace(workers.count, rows.X.size)
                coordinator = Coordinator(
                    plan, workers, pace, self._known, ledger.put, self._stop.requested
                )
                self._stop.patient = True
                end = coordinator.run()
                ledger.flush()
                return end
        finally:
            self._stop.patient = False
            ledger.close()
            self._watcher.end()
            self._seconds["search"] = round(time.monotonic() - clock, 2)
            self._seconds["growing"] = round(self._growing, 2)

    def _entered(self, record: TrialRecord) -> None:
        """Take a trial's record as it stands in the database now; called by the ledger."""
        self._progress.take(record)
        self._growing += record.fit_seconds or 0.0
        self._recorder.put_trial(record)
        self._watcher.trial(record)
        if record.state != "RUNNING":
            self._record()

    def _record(self) -> None:
        """Hand the study's own record to the mirror."""
        record = study_record(self._study, self._notes, self._progress, self._state)
        self._recorder.put_study(record)

    def _note(self, key: str, value: Any) -> None:
        """Keep a note on the study in its database."""
        self._check()
        self._study.put(key, value)
        self._notes[key] = value

    def _crown(self, end: End) -> None:
        """Make and register the best trial's champion, unless a version of it is there already."""
        spec = self._problem.spec
        best = self._progress.champion
        if best is None:
            within = f" within {spec.timeout:g} s: give it more time" if end == "timeout" else ""
            raise StudyError(f"study '{spec.study}': no trial was completed{within}")
        trees = champion_size(best.enough_trees) if spec.trees == "auto" else spec.trees
        wanted = {"name": spec.model, "trial": best.number, "trees": trees}
        if spec.register_model and self._known_version(wanted, best.number, trees):
            return
        clock = time.monotonic()
        jobs = spec.workers or cluster.cores()
        champion = make_champion(
            self._problem.dataset, self._problem.metric, best.params, trees, spec.seed, jobs
        )
        for text in remarks(champion, best.enough_trees, best.covered):
            self._watcher.say(text)
        self._note("holdout", dict(champion.holdout) or None)
        self._seconds["champion"] = round(time.monotonic() - clock, 2)
        if spec.register_model:
            clock = time.monotonic()
            mirror, uid = self._recorder.mirror, self._study.uid
            version = register(
                self._registry, self._problem, champion, uid, best.number, mirror, self._check
            )
            self._note("model", wanted | {"version": version.version})
            self._seconds["register"] = round(time.monotonic() - clock, 2)

    def _known_version(self, wanted: dict[str, Any], trial: int, trees: int) -> bool:
        """Whether the champion is registered already; asks the registry, not what is noted."""
        if not self._recorder.wait_adopted(_MIRROR_PATIENCE):
            failure = self._recorder.failure or "MLflow does not answer"
            msg = f"the champion is not registered ({failure}): the same launch again does it"
            raise StudyError(msg)
        version = find_version(self._registry, self._problem, self._study.uid, trial, trees)
        if version is None or "holdout" not in self._notes:
            return False
        self._note("model", wanted | {"version": version.version})
        return True

    @cached_property
    def _registry(self) -> Registry:
        return Registry(self._stores.tracking_uri)

    def _finish(
        self, state: StudyState, started: float, patience: float = _MIRROR_PATIENCE
    ) -> None:
        """Bring the mirror level, and note how far it came."""
        self._state = state
        self._record()
        level = self._recorder.wait_level(patience)
        behind = self._recorder.behind
        runs = sum(self._progress.counts.values())
        note = {"runs": runs - behind, "behind": behind}
        self._note("mirror", note | self._recorder.mirror.place())
        self._seconds["total"] = round(time.monotonic() - started, 2)
        self._note("seconds", (self._notes.get("seconds") or {}) | self._seconds)
        self._note("state", state)
        if not level:
            why = f" ({self._recorder.failure})" if self._recorder.failure else ""
            self._watcher.say(f"MLflow is {behind} runs behind{why}")

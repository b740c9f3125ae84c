"""A search without a database and MLflow, and with one job without other processes."""

import time
from typing import TYPE_CHECKING

from search.errors import StudyError
from search.monitoring.display import Display
from search.monitoring.status import SearchStatus
from search.optimization.coordinator import Coordinator
from search.optimization.plan import make_plan
from search.study.problem import Problem
from search.workers.factory import local_workers
from search.workers.inline import InlineWorkers
from search.workers.task_sizing import TaskSizer
from storage.records import TrialRecord
from storage.studies.trials import template_of
from storage.tracking.client import without_autologging

if TYPE_CHECKING:
    import optuna


@without_autologging()
def search_in_memory(
    problem: Problem, jobs: int, *, quiet: bool
) -> "tuple[TrialRecord, optuna.Study]":
    """Run the same search as `launch`, without storing it.

    Parameters
    ----------
    jobs
        Number of processes that grow trees. With 1, this process grows them.

    Returns
    -------
    the best trial, and the Optuna study

    Raises
    ------
    StudyError
        If no trial was completed.
    """
    metric, spec = problem.metric, problem.spec
    status = SearchStatus(
        spec.study, metric.name, metric.direction, spec.trials, guide=metric.guide
    )
    observer = Display(quiet=quiet)
    trials: dict[int, TrialRecord] = {}

    def put(record: TrialRecord) -> None:
        trials[record.number] = record
        status.take(record)
        observer.changed()

    observer.begin(status)
    try:
        with InlineWorkers() if jobs == 1 else local_workers(jobs) as workers:
            workers.load(problem.training_set)
            task_sizer = TaskSizer(workers.count, problem.training_set.X.size)
            plan = make_plan(problem, time.monotonic(), lambda _: 0.0)
            Coordinator(plan, workers, task_sizer, [], put, lambda: False).run()
    finally:
        observer.end()
    best = status.statistics.candidate
    if best is None:
        raise StudyError(f"no trial was scored within {spec.timeout} s: increase the timeout")
    return best, _study(problem, list(trials.values()))


def _study(problem: Problem, trials: list[TrialRecord]) -> "optuna.Study":
    import optuna

    study = optuna.create_study(direction=problem.metric.direction)
    study.add_trials(template_of(trial, problem.space) for trial in trials)
    return study

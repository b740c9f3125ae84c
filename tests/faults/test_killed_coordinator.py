"""The coordinator is killed (SIGKILL) at each of its steps and at random times."""

import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from checker import read_trials
from conftest import Workspace

from storage.records import LOST_REASON

ROUNDS = int(os.environ.get("GROVEKEEPER_FAULT_ROUNDS", "4"))
SEED = 0
AT_ONCE = 3
# Trials of a study that is killed during its trials several times: some are left each time.
MANY_TRIALS = 24
LONG_TRIALS = {"set": "search.workers.task_sizing:_MIN_SECONDS", "to": 1e-6}


def kill(at: str, when: str, call: int) -> dict[str, object]:
    return {"at": at, "when": when, "call": call}


# Each launch of a study is killed at the next step; the last one ends.
STEPS = {
    "start and end": {
        "after the study is made": kill("optuna:create_study", "after", 1),
        "before anything is noted": kill("search.service.launch:initialize_study", "before", 1),
        "after the first note": kill("storage.studies.study:Study._put", "after", 1),
        "between the first notes": kill("storage.studies.study:Study._put", "after", 3),
        "before the refit": kill("search.model.finalize:make_champion", "before", 1),
        "after the refit": kill("search.model.finalize:make_champion", "after", 1),
        "before the model's files": kill(
            "storage.registry.client:Registry.log_folder", "before", 1
        ),
        "before the registration": kill("storage.registry.client:Registry.register", "before", 1),
        "within the registration": kill("mlflow:MlflowClient.create_model_version", "after", 1),
        "before the report": kill("storage.tracking.study_run:StudyRun._write_report", "before", 1),
        "after the report": kill("storage.tracking.study_run:StudyRun._write_report", "after", 1),
        "before the last note": kill("search.service.launch:_Launch._finish", "before", 1),
    },
    "trials and runs": {
        "after an ask": kill("search.optimization.proposer:Proposer.propose", "after", 3),
        "after a submission": kill(
            "search.workers.dask_workers:DaskWorkers.grow_to_end", "after", 3
        ),
        "before a trial is entered": kill("storage.studies.study:Study.enter_trial", "before", 2),
        "after a trial is entered": kill("storage.studies.study:Study.enter_trial", "after", 2),
        "before a run is made": kill("storage.tracking.runs:Runs.create", "before", 2),
        "after a run is made": kill("storage.tracking.runs:Runs.create", "after", 1),
        "after a run is written": kill("storage.tracking.runs:Runs.write", "after", 2),
        "before a run is ended": kill("storage.tracking.runs:Runs.set_status", "before", 2),
        "after a run is ended": kill("storage.tracking.runs:Runs.set_status", "after", 1),
        "after the registration": kill("storage.registry.client:Registry.register", "after", 1),
    },
}
STEPS_OF_LONG_TRIALS = {
    "between two rungs": kill(
        "search.optimization.coordinator:Coordinator._handle_results", "after", 4
    ),
    "before a score is entered": kill("storage.studies.study:Study.report", "before", 2),
    "after a score is entered": kill("storage.studies.study:Study.report", "after", 2),
    "before a trial is ended": kill("storage.studies.study:Study.end_trial", "before", 2),
    "within the end of a trial": kill("optuna.storages:RDBStorage.set_trial_user_attr", "after", 3),
    "after a trial is ended": kill("storage.studies.study:Study.end_trial", "after", 2),
}


@pytest.mark.parametrize("part", STEPS)
def test_a_study_survives_kills_at_the_steps_of_a_launch(
    make_workspace: Callable[..., Workspace], part: str
) -> None:
    workspace = make_workspace(**{"trials": MANY_TRIALS} if "runs" in part else {})
    for step, fault in STEPS[part].items():
        assert workspace.start(faults=[fault]).wait() == -9, step
    workspace.run()
    workspace.check()


def test_a_study_survives_kills_at_the_steps_of_long_trials(
    make_workspace: Callable[..., Workspace],
) -> None:
    """Its trials are shown as interrupted after its coordinator died, and not as failed."""
    workspace = make_workspace(trials=MANY_TRIALS)
    short_round = {"set": "storage.studies.trial_writer:_ROUND", "to": 0.01}
    written_at_once = {"set": "storage.studies.trial_writer:_YOUNG_SECONDS", "to": 0.0}
    faults = [LONG_TRIALS, short_round, written_at_once]
    for step, fault in STEPS_OF_LONG_TRIALS.items():
        assert workspace.start(faults=[*faults, fault]).wait() == -9, step
        if step == "after a score is entered":
            states = {t.state for t in read_trials(workspace.storage, "houses")}
            assert "RUNNING" in states
            assert "lost" in workspace.run("show", "houses")
            assert "is not running but lost" in workspace.run("stop", "houses", expect=1)
    workspace.run(faults=faults)
    workspace.check()
    lost = [t for t in read_trials(workspace.storage, "houses") if t.attributes.get("interrupted")]
    assert lost
    assert {t.attributes["reason"] for t in lost} == {LOST_REASON}
    shown = workspace.run("show", "houses")
    assert f"{len(lost)} interrupted" in shown
    assert "failed" not in shown


def test_a_study_survives_kills_at_random_times(make_workspace: Callable[..., Workspace]) -> None:
    """Kill many launches once or twice each, at times drawn with the round's seed."""
    whole = _seconds_of_a_launch(make_workspace())
    workspaces = [make_workspace() for _ in range(ROUNDS)]

    def run_round(n: int) -> str | None:
        random_times = random.Random(SEED * 1_000_000 + n)  # noqa: S311
        try:
            for _ in range(random_times.choice([1, 1, 1, 2])):
                launch = workspaces[n].start()
                time.sleep(random_times.uniform(0.0, whole))
                launch.kill()
                assert launch.wait() in {-9, 0}
            workspaces[n].run()
            workspaces[n].check()
        except AssertionError as error:
            return f"round {n}: {error}"
        return None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = [text for text in pool.map(run_round, range(ROUNDS)) if text]
    assert wrong == []


def _seconds_of_a_launch(workspace: Workspace) -> float:
    began = time.monotonic()
    workspace.run()
    workspace.check()
    return time.monotonic() - began

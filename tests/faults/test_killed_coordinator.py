"""The coordinator is killed (SIGKILL): at each of its steps, and at any time."""

import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import Farm

from storage.records import LOST_REASON

ROUNDS = int(os.environ.get("GROVEKEEPER_FAULT_ROUNDS", "60"))
SEED = 0
AT_ONCE = 4
LONG_TRIALS = {"set": "search.workers.task_sizing:_SHORTEST", "to": 1e-6}


def kill(at: str, when: str, call: int) -> dict[str, object]:
    return {"at": at, "when": when, "call": call}


STEPS = {
    "after the study is made": kill("optuna:create_study", "after", 1),
    "before anything is noted": kill("search.service.launch:settle", "before", 1),
    "after the first note": kill("storage.studies.study:Study._put", "after", 1),
    "between the first notes": kill("storage.studies.study:Study._put", "after", 3),
    "after an ask": kill("search.optimization.proposer:Proposer.propose", "after", 5),
    "after a submission": kill("search.workers.dask_workers:DaskWorkers.grow_to_end", "after", 5),
    "before a trial is entered": kill("storage.studies.study:Study.enter_trial", "before", 4),
    "after a trial is entered": kill("storage.studies.study:Study.enter_trial", "after", 4),
    "before a run is made": kill("storage.tracking.runs:Runs.create", "before", 4),
    "after a run is made": kill("storage.tracking.runs:Runs.create", "after", 4),
    "after a run is written": kill("storage.tracking.runs:Runs.write", "after", 5),
    "before a run is ended": kill("storage.tracking.runs:Runs.set_status", "before", 3),
    "after a run is ended": kill("storage.tracking.runs:Runs.set_status", "after", 3),
    "before the refit": kill("search.model.finalize:make_champion", "before", 1),
    "after the refit": kill("search.model.finalize:make_champion", "after", 1),
    "before the model's files": kill("storage.registry.client:Registry.log_folder", "before", 1),
    "before the registration": kill("storage.registry.client:Registry.register", "before", 1),
    "within the registration": kill("mlflow:MlflowClient.create_model_version", "after", 1),
    "after the registration": kill("storage.registry.client:Registry.register", "after", 1),
    "before the report": kill("storage.tracking.study_run:StudyRun._write_report", "before", 1),
    "after the report": kill("storage.tracking.study_run:StudyRun._write_report", "after", 1),
    "before the last note": kill("search.service.launch:_Launch._finish", "before", 1),
}
STEPS_OF_LONG_TRIALS = {
    "between two rungs": kill("search.optimization.coordinator:Coordinator._judge", "after", 4),
    "before a score is entered": kill("storage.studies.study:Study.report", "before", 2),
    "after a score is entered": kill("storage.studies.study:Study.report", "after", 2),
    "before a trial is ended": kill("storage.studies.study:Study.end_trial", "before", 2),
    "within the end of a trial": kill("optuna.storages:RDBStorage.set_trial_user_attr", "after", 3),
    "after a trial is ended": kill("storage.studies.study:Study.end_trial", "after", 2),
}


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step(farm: Farm, step: str) -> None:
    assert farm.start(faults=[STEPS[step]]).wait() == -9
    farm.run()
    farm.check()


@pytest.mark.parametrize("step", STEPS_OF_LONG_TRIALS)
def test_killed_at_a_step_of_long_trials(farm: Farm, step: str) -> None:
    seen_at_once = {"set": "storage.studies.trial_writer:_ROUND", "to": 0.01}
    young = {"set": "storage.studies.trial_writer:_YOUNG_SECONDS", "to": 0.0}
    faults = [LONG_TRIALS, seen_at_once, young]
    assert farm.start(faults=[*faults, STEPS_OF_LONG_TRIALS[step]]).wait() == -9
    farm.run(faults=faults)
    farm.check()


def test_killed_at_any_time(make_farm: Callable[..., Farm]) -> None:
    """Many rounds, each killed once or twice, at times drawn with the round's seed."""
    whole = _seconds_of_a_launch(make_farm())
    farms = [make_farm() for _ in range(ROUNDS)]

    def play(n: int) -> str | None:
        random_times = random.Random(SEED * 1_000_000 + n)  # noqa: S311
        try:
            for _ in range(random_times.choice([1, 1, 1, 2])):
                launch = farms[n].start()
                time.sleep(random_times.uniform(0.0, whole))
                launch.kill()
                assert launch.wait() in {-9, 0}
            farms[n].run()
            farms[n].check()
        except AssertionError as error:
            return f"round {n}: {error}"
        return None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = [text for text in pool.map(play, range(ROUNDS)) if text]
    assert wrong == []


def _seconds_of_a_launch(farm: Farm) -> float:
    began = time.monotonic()
    farm.run()
    farm.check()
    return time.monotonic() - began


def test_what_a_dead_coordinator_left_running_is_told_so(farm: Farm) -> None:
    from checker import read_trials

    faults = [LONG_TRIALS, {"set": "storage.studies.trial_writer:_YOUNG_SECONDS", "to": 0.0}]
    farm.start(faults=[*faults, kill("storage.studies.study:Study.report", "after", 3)]).wait()
    assert "RUNNING" in {t.state for t in read_trials(farm.storage, "houses")}
    assert "lost" in farm.run("show", "houses")
    assert "is not running but lost" in farm.run("stop", "houses", expect=1)
    farm.run()
    farm.check()
    lost = [t for t in read_trials(farm.storage, "houses") if t.attributes.get("interrupted")]
    assert lost
    assert {t.attributes["reason"] for t in lost} == {LOST_REASON}
    told = farm.run("show", "houses")
    assert f"{len(lost)} interrupted" in told
    assert "failed" not in told

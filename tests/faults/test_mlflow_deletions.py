"""The study's run or its experiment is deleted in MLflow while the study runs, or before."""

from collections.abc import Callable

import pytest
from checker import read_trials
from conftest import STUDY, Workspace
from mlflow import MlflowClient

# Trials enough for a study to last longer than it takes to delete its run.
MANY = 30


def delete(workspace: Workspace, what: str) -> None:
    """Delete the study's run or its experiment as soon as the study's run exists."""
    client = MlflowClient(workspace.tracking_uri)
    found: list[str] = []

    def exists() -> bool:
        place = client.get_experiment_by_name(STUDY)
        if place is not None:
            runs = client.search_runs([place.experiment_id], "tags.`grovekeeper.kind` = 'study'")
            found.extend(run.info.run_id if what == "run" else place.experiment_id for run in runs)
        return bool(found)

    workspace.wait_for(exists, "the study's run", pause=0.1)
    (client.delete_run if what == "run" else client.delete_experiment)(found[0])


@pytest.mark.parametrize("what", ["run", "experiment"])
def test_what_is_deleted_while_a_study_runs_is_said_and_can_be_restored(
    make_workspace: Callable[..., Workspace], what: str
) -> None:
    workspace = make_workspace(trials=MANY)
    launch = workspace.start()
    delete(workspace, what)
    assert launch.wait() == 1, launch.output()
    assert len(read_trials(workspace.storage, STUDY)) >= MANY
    said = launch.output()
    assert said.count("was deleted in MLflow: `grovekeeper sync") >= 2
    assert "the champion is not registered" in said
    refused = workspace.run(expect=1)
    assert refused.count("\n") == 1 or "task:" in refused
    assert "`grovekeeper sync houses --restore` restores it" in refused
    workspace.run("--restore")
    workspace.check()


def test_a_running_launch_continues_with_what_another_command_restores(
    make_workspace: Callable[..., Workspace],
) -> None:
    workspace = make_workspace(trials=MANY)
    launch = workspace.start()
    delete(workspace, "experiment")
    workspace.wait_for(lambda: "--restore" in launch.output(), "the warning")
    workspace.run("sync", STUDY, "--restore")
    assert launch.wait() == 0, launch.output()
    workspace.check()

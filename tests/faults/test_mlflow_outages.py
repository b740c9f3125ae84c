"""The MLflow server is stopped, suspended or restarted, or its answers are lost."""

import signal
import time
import uuid
from collections.abc import Callable

from checker import note, read_trials
from conftest import STUDY, Workspace
from mlflow import MlflowClient
from servers import LossyProxy, MlflowServer

# Trials enough for a study to last longer than it takes to stop the server.
MANY = 60
SHORT_TIMEOUT = {"set": "search.service.launch:_MIRROR_TIMEOUT", "to": 3.0}


def wait_for_runs(workspace: Workspace, server: MlflowServer) -> None:
    """Wait until the server has more than three runs of the workspace's study."""
    client = MlflowClient(server.address)

    def begun() -> bool:
        uid = note(workspace.storage, STUDY, "uid")
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        condition = f"tags.`grovekeeper.study_uid` = '{uid}'"
        return uid is not None and len(client.search_runs(experiments, condition)) > 3

    workspace.wait_for(begun, "the first runs")


def test_a_study_survives_a_server_that_is_killed_and_restarted(
    make_workspace: Callable[..., Workspace], server: MlflowServer
) -> None:
    workspace = make_workspace(tracking_uri=server.address, trials=MANY)
    launch = workspace.start()
    wait_for_runs(workspace, server)
    server.stop()
    workspace.wait_for_trials(min(len(read_trials(workspace.storage, "houses")) + 5, MANY))
    server.start()
    assert launch.wait() == 0, launch.output()
    workspace.check()


def test_a_suspended_server_gets_no_duplicate_run(
    make_workspace: Callable[..., Workspace], server: MlflowServer
) -> None:
    workspace = make_workspace(tracking_uri=server.address, trials=MANY)
    launch = workspace.start()
    wait_for_runs(workspace, server)
    for _ in range(2):
        server.signal(signal.SIGSTOP)
        time.sleep(5)
        server.signal(signal.SIGCONT)
        time.sleep(2)
    assert launch.wait() == 0, launch.output()
    workspace.check()


def test_a_server_that_stays_down_is_reported_and_synced_later(
    make_workspace: Callable[..., Workspace], server: MlflowServer
) -> None:
    workspace = make_workspace(tracking_uri=server.address, trials=MANY)
    launch = workspace.start("--no-register", faults=[SHORT_TIMEOUT])
    wait_for_runs(workspace, server)
    server.stop()
    assert launch.wait() == 1
    assert "grovekeeper sync houses" in launch.output()
    assert "behind" in workspace.run("show", "houses")
    server.start()
    workspace.run("sync", "houses")
    workspace.check(versions=0)
    assert "0 made or changed" in workspace.run("sync", "houses")


def test_lost_answers_make_no_duplicate_run(
    make_workspace: Callable[..., Workspace], server: MlflowServer
) -> None:
    proxy = LossyProxy(server.port, lose_every=13)
    workspace = make_workspace(tracking_uri=proxy.address, trials=25)
    workspace.run()
    assert proxy.lost > 3
    proxy.close()
    workspace.tracking_uri = server.address
    workspace.check()


def test_a_server_that_is_down_at_the_start_is_an_error(
    make_workspace: Callable[..., Workspace], server: MlflowServer
) -> None:
    server.stop()
    workspace = make_workspace(tracking_uri=server.address)
    assert "does not answer" in workspace.run(expect=1)
    assert read_trials(workspace.storage, "houses") == []


def test_sync_fills_an_empty_mlflow_from_optunas_database(
    make_workspace: Callable[..., Workspace], server: MlflowServer
) -> None:
    workspace = make_workspace()
    workspace.run("--no-register")
    workspace.tracking_uri = server.address
    client = MlflowClient(server.address)
    other = client.create_run(client.create_experiment(f"theirs-{uuid.uuid4().hex}")).info.run_id
    workspace.run("sync", "houses")
    workspace.check(versions=0)
    assert client.get_run(other).info.lifecycle_stage == "active"

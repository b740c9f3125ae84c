"""The MLflow server is stopped, suspended or restarted, or its answers are lost or spoiled."""

import signal
import time
from collections.abc import Callable

from checker import note, read_trials
from conftest import STUDY, Workspace
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from processes import free_port
from servers import FaultyProxy, MlflowServer

# Trials enough for a study to last longer than it takes to stop the server.
MANY = 30
# Enough for the runs of a study to be written between several outages.
MORE = 40
SHORT_TIMEOUT = {"set": "search.service.launch:_MIRROR_TIMEOUT", "to": 3.0}


def count_runs(workspace: Workspace, server: MlflowServer) -> int:
    client, uid = MlflowClient(server.address), note(workspace.storage, STUDY, "uid")
    counts: list[int] = []

    def is_answered() -> bool:
        try:
            experiments = [one.experiment_id for one in client.search_experiments()]
            runs = client.search_runs(experiments, f"tags.`grovekeeper.study_uid` = '{uid}'")
        except MlflowException:  # a server that was just resumed may drop connections
            return False
        counts.append(len(runs))
        return True

    workspace.wait_for(is_answered, "an answer of the server", pause=0.2)
    return counts[-1]


def wait_for_more_runs(workspace: Workspace, server: MlflowServer) -> None:
    """Wait until the server has four more runs of the workspace's study, or all of them."""
    enough = min(count_runs(workspace, server) + 4, workspace.trials + 1)
    workspace.wait_for(lambda: count_runs(workspace, server) >= enough, "more runs", pause=0.1)


def test_a_study_survives_a_server_that_is_killed_restarted_and_suspended(
    make_workspace: Callable[..., Workspace], server: MlflowServer
) -> None:
    workspace = make_workspace(tracking_uri=server.address, trials=MORE)
    launch = workspace.start()
    wait_for_more_runs(workspace, server)
    server.stop()
    workspace.wait_for_trials(min(len(read_trials(workspace.storage, STUDY)) + 5, MORE))
    server.start()
    for _ in range(2):
        wait_for_more_runs(workspace, server)
        server.signal(signal.SIGSTOP)
        time.sleep(5)  # requests time out, and are carried out later
        server.signal(signal.SIGCONT)
    assert launch.wait() == 0, launch.output()
    workspace.check()


def test_a_server_that_stays_down_is_reported_and_it_or_another_one_is_synced_later(
    make_workspace: Callable[..., Workspace], server: MlflowServer
) -> None:
    workspace = make_workspace(trials=MANY)
    empty, workspace.tracking_uri = workspace.tracking_uri, server.address
    launch = workspace.start("--no-register", faults=[SHORT_TIMEOUT])
    wait_for_more_runs(workspace, server)
    server.stop()
    assert launch.wait() == 1
    assert "grovekeeper sync houses" in launch.output()
    assert "behind" in workspace.run("show", "houses")
    server.start()
    workspace.run("sync", "houses")
    workspace.check(versions=0)
    assert "0 made or changed" in workspace.run("sync", "houses")
    workspace.tracking_uri = empty
    client = MlflowClient(empty)
    other = client.create_run(client.create_experiment("theirs")).info.run_id
    workspace.run("sync", "houses")
    workspace.check(versions=0)
    assert client.get_run(other).info.lifecycle_stage == "active"


def test_lost_late_and_garbled_answers_make_no_duplicate_run(
    make_workspace: Callable[..., Workspace], server: MlflowServer
) -> None:
    proxy = FaultyProxy(server.port, every=11, faults=("lose", "garble", "delay"))
    workspace = make_workspace(tracking_uri=proxy.address, trials=25)
    workspace.run()
    assert proxy.spoiled > 3
    proxy.close()
    workspace.tracking_uri = server.address
    workspace.check()


def test_a_server_that_is_down_at_the_start_is_an_error(
    make_workspace: Callable[..., Workspace],
) -> None:
    workspace = make_workspace(tracking_uri=f"http://127.0.0.1:{free_port()}")
    assert "does not answer" in workspace.run(expect=1)
    assert read_trials(workspace.storage, "houses") == []

"""The MLflow server is stopped, frozen, restarted; its answers are lost on the way."""

import signal
import time
import uuid
from collections.abc import Callable

from checker import note, read_trials
from conftest import STUDY, Farm
from mlflow import MlflowClient
from servers import LosingProxy, MlflowServer

# Long enough to be overtaken by an outage.
MANY = 60
IMPATIENT = {"set": "search.service.launch:_MIRROR_TIMEOUT", "to": 3.0}


def wait_for_runs(farm: Farm, server: MlflowServer) -> None:
    """Wait until the server has some runs of the farm's study."""
    client = MlflowClient(server.address)

    def begun() -> bool:
        uid = note(farm.storage, STUDY, "uid")
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        condition = f"tags.`grovekeeper.study_uid` = '{uid}'"
        return uid is not None and len(client.search_runs(experiments, condition)) > 3

    farm.wait_for(begun, "the first runs")


def test_a_server_that_is_killed_and_restarted_is_ridden_out(
    make_farm: Callable[..., Farm], server: MlflowServer
) -> None:
    farm = make_farm(tracking_uri=server.address, trials=MANY)
    launch = farm.start()
    wait_for_runs(farm, server)
    server.stop()
    farm.wait_for_trials(min(len(read_trials(farm.storage, "houses")) + 5, MANY))
    server.start()
    assert launch.wait() == 0, launch.said()
    farm.check()


def test_a_server_that_is_frozen_makes_no_second_run(
    make_farm: Callable[..., Farm], server: MlflowServer
) -> None:
    farm = make_farm(tracking_uri=server.address, trials=MANY)
    launch = farm.start()
    wait_for_runs(farm, server)
    for _ in range(2):
        server.signal(signal.SIGSTOP)
        time.sleep(5)
        server.signal(signal.SIGCONT)
        time.sleep(2)
    assert launch.wait() == 0, launch.said()
    farm.check()


def test_a_server_that_stays_away_is_said_and_synced_later(
    make_farm: Callable[..., Farm], server: MlflowServer
) -> None:
    farm = make_farm(tracking_uri=server.address, trials=MANY)
    launch = farm.start("--no-register", faults=[IMPATIENT])
    wait_for_runs(farm, server)
    server.stop()
    assert launch.wait() == 1
    assert "grovekeeper sync houses" in launch.said()
    assert "behind" in farm.run("show", "houses")
    server.start()
    farm.run("sync", "houses")
    farm.check(versions=0)
    assert "0 made or changed" in farm.run("sync", "houses")


def test_answers_that_are_lost_make_no_second_run(
    make_farm: Callable[..., Farm], server: MlflowServer
) -> None:
    proxy = LosingProxy(server.port, lose_every=13)
    farm = make_farm(tracking_uri=proxy.address, trials=25)
    farm.run()
    assert proxy.lost > 3
    proxy.close()
    farm.tracking_uri = server.address
    farm.check()


def test_a_server_that_is_not_there_at_the_start_is_an_error(
    make_farm: Callable[..., Farm], server: MlflowServer
) -> None:
    server.stop()
    farm = make_farm(tracking_uri=server.address)
    assert "does not answer" in farm.run(expect=1)
    assert read_trials(farm.storage, "houses") == []


def test_an_empty_mlflow_is_filled_from_optunas_database(
    make_farm: Callable[..., Farm], server: MlflowServer
) -> None:
    farm = make_farm()
    farm.run("--no-register")
    farm.tracking_uri = server.address
    client = MlflowClient(server.address)
    other = client.create_run(client.create_experiment(f"theirs-{uuid.uuid4().hex}")).info.run_id
    farm.run("sync", "houses")
    farm.check(versions=0)
    assert client.get_run(other).info.lifecycle_stage == "active"

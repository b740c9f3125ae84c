"""`grovekeeper delete`: what it deletes, what it keeps, and the confirmation."""

import os
import signal

import optuna
import pytest
from conftest import Shell
from mlflow import MlflowClient
from settled import settle
from terminals import Terminal

from storage.studies.study import StudyBook


@pytest.mark.slow
def test_runs_and_view_are_deleted_and_versions_are_kept(shell: Shell) -> None:
    shell("launch", "--trials", "4")
    experiment = shell.json("show", "diabetes")["mlflow"]["experiment_id"]
    client = MlflowClient(shell.tracking_uri)

    def views() -> list[str]:
        tags = client.get_experiment(experiment).tags
        return [name for name in tags if name.startswith("mlflow.sharedViewState.")]

    assert len(client.search_runs([experiment])) == 5
    assert len(views()) == 1

    refused = shell("delete", "diabetes", expect=2).stderr
    assert "stdin is not a terminal: give --yes" in refused
    assert len(client.search_runs([experiment])) == 5

    assert shell.json("delete", "diabetes", "--yes") == {
        "study": "diabetes",
        "trials": 4,
        "runs": 5,
    }

    assert shell.json("studies") == []
    assert client.search_runs([experiment]) == []
    assert views() == []
    assert "is reproduced, bit by bit" in shell("reproduce", "diabetes").stdout
    shell("promote", "diabetes")


def test_the_study_is_kept_if_mlflow_does_not_answer(launched: Shell) -> None:
    failed = launched(
        "--tracking-uri", "http://127.0.0.1:1", "delete", "diabetes", "--yes", expect=1
    )
    assert "does not answer" in failed.stderr
    assert launched.json("show", "diabetes")["trials"]["goal"] == 10


def test_a_study_of_another_tool_is_not_deleted(shell: Shell) -> None:
    storage = optuna.storages.RDBStorage(shell.storage)
    optuna.create_study(study_name="theirs", storage=storage)
    storage.remove_session()
    storage.engine.dispose()
    refused = shell("delete", "theirs", "--yes", expect=1).stderr
    assert "was not made by grovekeeper" in refused
    assert [study["study"] for study in shell.json("studies")] == ["theirs"]


@pytest.mark.parametrize(
    ("answer", "code", "left"), [(b"y\n", 0, []), (b"n\n", 1, ["houses"]), (b"\x04", 1, ["houses"])]
)
def test_it_asks_for_confirmation(shell: Shell, answer: bytes, code: int, left: list[str]) -> None:
    study = StudyBook(shell.storage, create=True).make("houses", "minimize")
    settle(study)
    asked = Terminal(shell.folder, "delete", "houses")
    asked.wait_for(lambda text: "their runs in MLflow? [y/N]" in text)
    os.write(asked.keyboard, answer)
    assert asked.end() == code
    assert ("was not deleted" in asked.text) == bool(left)
    assert [study["study"] for study in shell.json("studies")] == left


def test_ctrl_c_at_the_confirmation_deletes_nothing(shell: Shell) -> None:
    settle(StudyBook(shell.storage, create=True).make("houses", "minimize"))
    asked = Terminal(shell.folder, "delete", "houses")
    asked.wait_for(lambda text: "[y/N]" in text)
    os.kill(asked.process.pid, signal.SIGINT)
    assert asked.end() == 130
    assert len(shell.json("studies")) == 1

"""`grovekeeper delete`: what goes, what stays, and what is asked before."""

from collections.abc import Callable

import optuna
import pytest
from conftest import Shell
from mlflow import MlflowClient


def test_a_study_goes_with_its_runs_and_its_view_and_its_versions_stay(shell: Shell) -> None:
    shell("launch", "--trials", "4")
    experiment = shell.json("show", "diabetes")["mlflow"]["experiment_id"]
    client = MlflowClient(shell.tracking_uri)

    def views() -> list[str]:
        tags = client.get_experiment(experiment).tags
        return [name for name in tags if name.startswith("mlflow.sharedViewState.")]

    assert len(client.search_runs([experiment])) == 5
    assert len(views()) == 1

    refused = shell("delete", "diabetes", expect=2).stderr
    assert "say --yes where nobody answers" in refused
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
    # A new study of the same name is another one: its champion is another version.
    assert shell.json("launch", "--trials", "4")["model"] == {"name": "diabetes", "version": 2}


def test_where_mlflow_is_gone_the_study_stays(launched: Shell) -> None:
    failed = launched(
        "--tracking-uri", "http://127.0.0.1:1", "delete", "diabetes", "--yes", expect=1
    )
    assert "does not answer" in failed.stderr
    assert launched.json("show", "diabetes")["trials"]["goal"] == 10


def test_a_study_made_elsewhere_is_left_alone(shell: Shell) -> None:
    storage = optuna.storages.RDBStorage(shell.storage)
    optuna.create_study(study_name="theirs", storage=storage)
    storage.remove_session()
    storage.engine.dispose()
    refused = shell("delete", "theirs", "--yes", expect=1).stderr
    assert "was not made by grovekeeper" in refused
    assert [study["study"] for study in shell.json("studies")] == ["theirs"]


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
def test_it_asks_first(
    here: Callable[..., int], answer: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from search import deletion
    from search.cli import delete
    from storage.studies import StudyBook

    StudyBook("sqlite:///optuna.db", create=True).make("houses", "minimize").put("spec", {})
    asked: list[str] = []
    deleted: list[str] = []

    def confirm(question: str, **_: object) -> bool:
        asked.append(question)
        return answer == "y"

    def carry_out(study: object, _uri: str) -> deletion.Deleted:
        deleted.append(str(study))
        return deletion.Deleted("houses", 0, 0)

    monkeypatch.setattr(delete.typer, "confirm", confirm)
    monkeypatch.setattr(delete.sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(deletion, "delete", carry_out)
    assert here("delete", "houses") == code
    assert asked == ["Delete study 'houses' with its 0 trials, and their runs in MLflow?"]
    assert len(deleted) == (answer == "y")

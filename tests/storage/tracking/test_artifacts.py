"""The place of artifacts is checked; what cannot be reached is named, and why."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_servers import answering, artifact_server
from mlflow import MlflowClient
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow_stores import copy_store
from processes import free_port

from storage.errors import DatabaseError, PermanentError, TooLargeError
from storage.registry.client import Registry
from storage.tracking import artifacts
from storage.tracking.mirror import Mirror


@pytest.fixture
def project(empty_mlflow: Path, tmp_path: Path) -> Iterator[Path]:
    """Return a project's folder, whose store has a run with an artifact."""
    folder = tmp_path / "project ä#1"
    folder.mkdir()
    client = MlflowClient(copy_store(empty_mlflow, folder))
    place = client.create_experiment("houses", str(folder / "mlruns" / "1"))
    client.log_text(client.create_run(place).info.run_id, "a", "a.txt")
    return folder


def client_of(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder}/mlflow.db")


def try_out(client: MlflowClient, name: str = "houses") -> None:
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    artifacts.try_out(client, experiment)


def files_of(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if "mlflow.db" not in path.name}


def test_a_folder_that_can_be_written_is_left_as_it_was(project: Path) -> None:
    before = files_of(project)
    try_out(client_of(project))
    artifacts.try_out_all(client_of(project))
    assert files_of(project) == before


@pytest.mark.parametrize("parts", ["everything", "stores"])
def test_a_moved_folder_is_recognised_and_nothing_is_written_to_the_old_place(
    project: Path, tmp_path: Path, parts: str
) -> None:
    new, old = tmp_path / "renamed", project / "mlruns"
    if parts == "everything":
        project.rename(new)
    else:
        new.mkdir()
        for name in ("mlflow.db", "mlruns"):
            (project / name).rename(new / name)
    client = client_of(new)
    with pytest.raises(PermanentError, match="but the folder was moved to") as raised:
        try_out(client)
    with pytest.raises(PermanentError, match=r"moved to|no folder"):
        artifacts.try_out_all(client)
    model = Registry(client.tracking_uri).new_model("1", "", "model")
    with pytest.raises(PermanentError):
        Registry(client.tracking_uri).log_folder(model, new)
    assert not old.exists()
    (command,) = re.findall("`(ln -s .*)`", str(raised.value))
    subprocess.run(shlex.split(command), check=True)
    try_out(client)


def test_a_copied_folder_is_recognised(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project, tmp_path / "copy")
    before = files_of(project)
    with pytest.raises(PermanentError, match=r"is a copy: .* would be stored beside the original"):
        try_out(client_of(tmp_path / "copy"))
    assert files_of(project) == before


def test_a_missing_folder_is_not_created(project: Path, tmp_path: Path) -> None:
    client = client_of(project)
    client.create_experiment("away", str(tmp_path / "away" / "mlruns" / "2"))
    with pytest.raises(PermanentError, match=r"there is no folder .*away: create it"):
        try_out(client, "away")
    assert not (tmp_path / "away").exists()


def test_a_folder_that_cannot_be_written_is_named() -> None:
    with pytest.raises(DatabaseError, match="cannot be stored in /proc/mlruns/1: "):
        artifacts.check_folder(Path("/proc/mlruns/1"))


def test_an_artifact_server_is_tried_out(mlflow_file: str) -> None:
    client = MlflowClient(mlflow_file)
    with artifact_server() as server:
        client.create_experiment("houses", server.location)
        try_out(client)
        assert len(server.sent) == 1
        assert server.files == {}
        server.limit = 3
        with pytest.raises(DatabaseError, match=f"{server.location} "):
            try_out(client)


def test_what_cannot_be_reached_is_named_with_the_proxy(
    mlflow_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, port = MlflowClient(mlflow_file), free_port()
    location = f"http://127.0.0.1:{port}/api/2.0/mlflow-artifacts/artifacts/1"
    client.create_experiment("houses", location)
    with pytest.raises(DatabaseError, match=rf"{location} does not answer \(Connection refused\)"):
        try_out(client)
    client.create_experiment("served", "mlflow-artifacts:/2")
    with pytest.raises(PermanentError, match="on its MLflow server: name the server"):
        try_out(client, "served")
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(DatabaseError, match=f"through the proxy http://127.0.0.1:{port}"):
        try_out(client)


def test_the_files_of_another_store_beside_the_database_are_ignored(
    project: Path, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    client = client_of(project)
    client.create_experiment("elsewhere", str(tmp_path / "there" / "mlruns" / "2"))
    theirs = project / "mlruns" / "2" / "0123456789abcdef0123456789abcdef"
    theirs.mkdir(parents=True)
    try_out(client, "elsewhere")


def test_a_server_that_stores_no_artifacts_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    with answering(503) as address:
        repository = get_artifact_repository("mlflow-artifacts:/1", address)
        with (
            pytest.raises(DatabaseError, match=rf"{address} does not store .* --serve-artifacts"),
            artifacts.explained(address, "mlflow-artifacts:/1"),
        ):
            repository.log_artifact(str(tmp_path / "a.txt"))


def test_a_new_experiment_whose_artifacts_cannot_be_stored_is_deleted(
    mlflow_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would keep the place, also after the server was corrected."""
    location = f"http://127.0.0.1:{free_port()}/api/2.0/mlflow-artifacts/artifacts/1"
    create = MlflowClient.create_experiment
    monkeypatch.setattr(
        MlflowClient, "create_experiment", lambda self, name: create(self, name, location)
    )
    mirror = Mirror(mlflow_file, "houses")
    mirror.connect()
    with pytest.raises(DatabaseError, match="does not answer"):
        mirror.check_artifacts()
    assert MlflowClient(mlflow_file).get_experiment_by_name("houses") is None


def test_a_file_above_the_limit_of_requests_is_said_with_its_size_and_the_limit(
    mlflow_file: str, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.skops").write_bytes(bytes(5_830_000))
    client, registry = MlflowClient(mlflow_file), Registry(mlflow_file)
    with artifact_server(limit=1_000_000) as server:
        place = client.create_experiment("houses", server.location)
        model = registry.new_model(place, client.create_run(place).info.run_id, "model")
        with pytest.raises(TooLargeError) as raised:
            registry.log_folder(model, folder)
        assert server.sent.count(5_830_000) == 1
        assert server.files == {}
    text = str(raised.value)
    assert "rejects a file of 5.83 MB" in text
    assert "between 0.729 MB and 1.46 MB" in text
    assert "client_max_body_size" in text
    assert "<html>" not in text


@pytest.mark.slow
def test_a_server_that_does_not_serve_artifacts_is_named(
    mlflow_server: str, tmp_path: Path
) -> None:
    client = MlflowClient(mlflow_server)
    client.create_experiment(tmp_path.name, str(tmp_path / "far" / "artifacts" / "1"))
    with pytest.raises(PermanentError, match="start it with --serve-artifacts"):
        try_out(client, tmp_path.name)
    assert not (tmp_path / "far").exists()
    client.create_experiment(f"{tmp_path.name}-served")
    try_out(client, f"{tmp_path.name}-served")

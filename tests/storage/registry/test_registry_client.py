from pathlib import Path

import pytest
from examples import add_version
from mlflow import MlflowClient

from storage.errors import DatabaseError, NotFoundError
from storage.registry.client import Registry, folder_digest, open_registry


def test_stage_and_alias_name_one_version_and_older_ones_are_archived(
    registry: Registry, tracking_uri: str, name: str, tmp_path: Path
) -> None:
    versions = [add_version(registry, name, tmp_path / "m", str(n)) for n in range(3)]
    for version in versions[:2]:
        registry.move(version, "Staging")
    stages = {v.version: (v.stage, v.aliases) for v in registry.versions(name)}
    assert stages == {1: ("Archived", ()), 2: ("Staging", ("staging",)), 3: ("None", ())}
    registry.move(versions[2], "Production")
    client = MlflowClient(tracking_uri)
    assert client.get_model_version_by_alias(name, "production").version in {3, "3"}
    assert client.get_model_version_by_alias(name, "staging").version in {2, "2"}


def test_a_version_is_found_by_its_tags(registry: Registry, name: str, tmp_path: Path) -> None:
    assert registry.find(name, {"trial": "1"}) is None
    for trial in ("1", "2", "1"):
        add_version(registry, name, tmp_path / "m", trial)
    found = registry.find(name, {"trial": "1"})
    assert found is not None
    assert found.version == 3
    assert registry.find(name, {"trial": "9"}) is None


def test_the_values_of_tags_may_hold_any_characters(
    registry: Registry, tracking_uri: str, name: str, tmp_path: Path
) -> None:
    add_version(registry, name, tmp_path / "m", "1")
    client = MlflowClient(tracking_uri)
    for value in ("it's", 'a "b"', "a; -- b", "100 % `x`", "größe", "a\\'"):
        client.set_model_version_tag(name, "1", "target", value)
        found = registry.find(name, {"trial": "1", "target": value})
        assert found is not None, value
        assert found.tags["target"] == value
        assert registry.find(name, {"trial": "1", "target": f"{value}'"}) is None


def test_the_folder_of_a_model_can_be_uploaded_again(
    registry: Registry, tracking_uri: str, name: str, tmp_path: Path
) -> None:
    client = MlflowClient(tracking_uri)
    experiment = client.create_experiment(name)
    run = client.create_run(experiment).info.run_id
    model = registry.new_model(experiment, run, "model")
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "MLmodel").write_text("{}")
    for _ in range(2):
        registry.log_folder(model, folder)
    outputs = client.get_run(run).outputs
    assert outputs is not None
    assert [output.model_id for output in outputs.model_outputs] == [model.model_id]


@pytest.mark.slow
def test_all_pages_of_models_and_versions_are_read(
    registry: Registry, tracking_uri: str, name: str, tmp_path: Path
) -> None:
    names = [f"{name}-{k}" for k in range(3)]
    for model in [*names, names[0]]:
        add_version(registry, model, tmp_path / "m", "1")
    paged = Registry(tracking_uri, page_size=1)
    assert set(paged.names()) >= set(names)
    assert len(paged.versions(names[0])) == 2


def test_the_error_on_a_missing_model_lists_the_models(
    registry: Registry, name: str, tmp_path: Path
) -> None:
    add_version(registry, name, tmp_path / "m", "1")
    with pytest.raises(NotFoundError, match=name):
        registry.versions("nosuch")


def test_reading_a_missing_store_does_not_create_it(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="grovekeeper launch"):
        open_registry(f"sqlite:///{tmp_path}/mlflow.db")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DatabaseError, match="does not answer"):
        open_registry("http://127.0.0.1:9")


def test_the_digest_of_a_folder_depends_on_names_and_contents(tmp_path: Path) -> None:
    def digest(files: dict[str, str]) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for file, text in files.items():
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return folder_digest(folder)

    same = {"a": "1", "b/c": "2"}
    assert digest(same) == digest(dict(reversed(same.items())))
    others = [{"a": "1", "b/c": "3"}, {"a": "1", "b/d": "2"}, {"a": "12", "b/c": ""}, {"a": "1"}]
    assert len({digest(files) for files in [same, *others]}) == 5

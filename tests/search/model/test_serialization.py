"""A model is loaded only if it is unchanged and contains only trusted types."""

import json
import os
import re
import sys
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import mlflow
import numpy as np
import pytest
import skops.io
from made import make_dataset
from mlflow_stores import copy_store
from shop import Shop, table
from sklearn.ensemble import RandomForestRegressor
from sklearn.preprocessing import OrdinalEncoder
from sklearn.svm import SVC

from search.errors import StudyError
from search.model.fingerprint import fingerprint
from search.model.provenance import ROLES_TAG, SHA_TAG
from search.model.serialization import TRUSTED_TYPES, load_model
from storage.errors import DatabaseError
from storage.records import ModelVersion
from storage.registry.client import folder_digest


@pytest.fixture(scope="module")
def original(empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("original")
    shop = Shop(copy_store(empty_mlflow, folder), folder)
    with chdir(folder):
        # Saving and loading take longer with more trees and more nodes.
        shop.write(table(80))
        shop.add(trees=4)
    return shop


@pytest.fixture
def shop(original: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A registry with one version; each test has files of its own to change."""
    monkeypatch.chdir(tmp_path)
    return original.copy_to(tmp_path)


@pytest.fixture
def made(shop: Shop) -> ModelVersion:
    """The version."""
    (version,) = shop.registry.versions("houses")
    return version


def folder_of(shop: Shop) -> Path:
    (model,) = shop.client.search_logged_models(["0"])
    return Path(model.artifact_location.removeprefix("file://"))


def register_again(shop: Shop, folder: Path) -> ModelVersion:
    """Change the registered digest as well, as somebody with access to the registry could."""
    shop.client.set_model_version_tag("houses", "1", SHA_TAG, folder_digest(folder))
    (made,) = shop.registry.versions("houses")
    return made


def test_the_trusted_types_are_those_of_a_fitted_vectorizer_and_a_tree(mixed_csv: Path) -> None:
    houses = make_dataset(str(mixed_csv), "price", holdout=0.2)
    steps = houses.encode("ordinal+target").steps
    found = set(skops.io.get_untrusted_types(data=skops.io.dumps(steps)))
    assert found <= set(TRUSTED_TYPES)
    own = {"sklearn.tree._tree.Tree", "numpy.dtype"}
    elsewhere = set(TRUSTED_TYPES) - found - own
    # Other tables need these: time zones, and selectors that skrub chooses by the columns.
    assert {name.split(".")[0] for name in elsewhere} <= {"datetime", "pandas", "skrub", "zoneinfo"}
    assert not any(name.startswith(("builtins", "os", "subprocess")) for name in TRUSTED_TYPES)


def test_a_model_with_dropped_columns_is_loaded_and_recorded(shop: Shop) -> None:
    made = shop.add(drop=["age"], categorical=["street"])
    assert made.tags[ROLES_TAG] == "drop=age, categorical=street"
    loaded = load_model(shop.registry, made)
    assert loaded.provenance.data.drop == ("age",)
    assert loaded.provenance.data.categorical == ("street",)
    rows = table(20)
    np.testing.assert_array_equal(
        loaded.pipeline.predict(rows), loaded.pipeline.predict(rows.drop(columns=["age", "price"]))
    )
    text = shop.client.get_model_version("houses", str(made.version)).description
    assert "dropped columns: `age`; categorical columns: `street`" in text


def test_the_file_is_compressed_and_its_recorded_size_is_right(shop: Shop) -> None:
    folder = folder_of(shop)
    with ZipFile(folder / "model.skops") as archive:
        members = archive.infolist()
    assert sum(m.compress_size for m in members) < 0.6 * sum(m.file_size for m in members)
    stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    recorded = mlflow.models.Model.load(str(folder)).model_size_bytes
    assert recorded == pytest.approx(stored, abs=100)  # the file that records it changes as well


def test_a_loaded_model_is_the_champion_and_its_file_has_no_object_twice(
    shop: Shop, mixed_csv: Path
) -> None:
    loaded = load_model(shop.registry, shop.add(data=str(mixed_csv), trees=2))
    assert fingerprint(loaded.pipeline) == loaded.provenance.content
    parts: list[dict[str, Any]] = []

    def note(part: dict[str, Any]) -> dict[str, Any]:
        parts.append(part)
        return part

    newest = max(shop.client.search_logged_models(["0"]), key=lambda m: m.creation_timestamp)
    with ZipFile(newest.artifact_location.removeprefix("file://") + "/model.skops") as archive:
        json.loads(archive.read("schema.json"), object_hook=note)
    objects = [part["__id__"] for part in parts if part.get("__loader__") == "ObjectNode"]
    assert len(objects) == len(set(objects))


def test_a_forged_type_is_refused_even_if_the_digest_is_right(shop: Shop) -> None:
    folder = folder_of(shop)
    skops.io.dump(OrdinalEncoder(dtype=os.system), folder / "model.skops")
    about = (folder / "MLmodel").read_text()
    (folder / "MLmodel").write_text(
        about.replace("trusted_types:", "trusted_types:\n    - posix.system")
    )
    made = register_again(shop, folder)
    with pytest.raises(StudyError, match=r"version 1 of houses is not loaded.*posix\.system"):
        load_model(shop.registry, made)


def test_a_model_that_mlflow_has_loaded_is_unchanged(shop: Shop, made: ModelVersion) -> None:
    before = {path.name for path in folder_of(shop).iterdir()}
    mlflow.set_tracking_uri(shop.tracking_uri)
    mlflow.pyfunc.load_model("models:/houses/1")
    assert {path.name for path in folder_of(shop).iterdir()} - before == {"registered_model_meta"}
    assert load_model(shop.registry, made).version == made


def change_a_node(field: str, value: int) -> Callable[[Any], None]:
    def change(pipeline: Any) -> None:
        tree = pipeline.steps[-1][1].estimators_[3].tree_
        state = tree.__getstate__()
        state["nodes"] = state["nodes"].copy()
        state["nodes"][field][0] = value
        tree.__setstate__(state)

    return change


def change_a_leaf(pipeline: Any) -> None:
    tree = pipeline.steps[-1][1].estimators_[3].tree_
    state = tree.__getstate__()
    state["nodes"] = state["nodes"].copy()
    state["nodes"]["right_child"][-1] = 10**9
    tree.__setstate__(state)


def widen(pipeline: Any) -> None:
    pipeline.steps[-1][1].n_features_in_ = 10**6


def put_another_last(pipeline: Any) -> None:
    pipeline.steps[-1] = ("forest", OrdinalEncoder())


def put_another_first(pipeline: Any) -> None:
    pipeline.steps[0] = ("table", OrdinalEncoder())


def put_another_before(pipeline: Any) -> None:
    pipeline.steps.insert(0, ("columns", pipeline.steps[0][1]))


def leave_one_step(pipeline: Any) -> None:
    del pipeline.steps[0]


def put_another_tree(pipeline: Any) -> None:
    forest = pipeline.steps[-1][1]
    own, forest.estimators_[0] = forest.estimators_[0].tree_, OrdinalEncoder()
    forest.estimators_[0].tree_ = own


def hide_a_tree(pipeline: Any) -> None:
    forged = RandomForestRegressor(2).fit([[0.0], [1.0]], [0.0, 1.0])
    pipeline.steps[0][1].low_cardinality = forged


def hide_another(pipeline: Any) -> None:
    """skops trusts this class of scikit-learn, whose code does not check its arrays."""
    pipeline.steps[0][1].high_cardinality = SVC().fit([[0.0], [1.0]], [0, 1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("forge", "says"),
    [
        (change_a_node("left_child", 10**9), "tree 3 of its forest has nodes outside its arrays"),
        (change_a_node("right_child", -7), "has nodes outside its arrays"),
        (change_a_node("left_child", 0), "has nodes outside its arrays"),  # an endless loop
        (change_a_node("feature", 10**6), "has nodes outside its arrays"),
        (change_a_node("feature", -3), "has nodes outside its arrays"),
        (change_a_leaf, "has nodes outside its arrays"),
        (widen, "has other columns or another type"),
        (put_another_last, "its steps are SelectCols, OrdinalEncoder, not"),
        (put_another_first, "its steps are OrdinalEncoder, RandomForestRegressor, not"),
        (put_another_before, "its steps are SelectCols, SelectCols, RandomForest"),
        (leave_one_step, "its steps are RandomForestRegressor, not"),
        (hide_a_tree, "there are trees outside its forest"),
        (
            put_another_tree,
            r"tree 0 of its forest has other columns or another type .OrdinalEncoder",
        ),
        (hide_another, r"it contains sklearn\.svm\._classes\.SVC"),
    ],
)
def test_a_forged_forest_is_refused_even_if_the_digest_is_right(
    shop: Shop, made: ModelVersion, forge: Callable[[Any], None], says: str
) -> None:
    pipeline = load_model(shop.registry, made).pipeline
    forge(pipeline)
    folder = folder_of(shop)
    skops.io.dump(pipeline, folder / "model.skops")
    made = register_again(shop, folder)
    with pytest.raises(StudyError, match=f"version 1 of houses is not loaded.*{says}"):
        load_model(shop.registry, made)


@pytest.mark.parametrize("nodes", [-5, 0, 1])
def test_a_tree_that_claims_more_nodes_than_it_has_is_refused(shop: Shop, nodes: int) -> None:
    folder = folder_of(shop)
    with ZipFile(folder / "model.skops") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    schema = files["schema.json"].decode()
    before, count, after = schema.partition('"node_count": ')
    forged = before + count + re.sub(r'"content": "\d+"', f'"content": "{nodes}"', after, count=1)
    files["schema.json"] = forged.encode()
    with ZipFile(folder / "model.skops", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    made = register_again(shop, folder)
    with pytest.raises(StudyError, match="has nodes outside its arrays"):
        load_model(shop.registry, made)


def test_a_file_that_is_not_skops_is_refused(shop: Shop) -> None:
    folder = folder_of(shop)
    (folder / "model.skops").write_bytes(b"\x80\x04cposix\nsystem\n.")
    made = register_again(shop, folder)
    with pytest.raises(StudyError, match="version 1 of houses is not loaded because it is damaged"):
        load_model(shop.registry, made)


@pytest.mark.slow
def test_a_model_of_another_program_is_refused(
    shop: Shop, made: ModelVersion, tmp_path: Path
) -> None:
    """Files of another version, a link out of the folder, and the address of another folder."""
    file = folder_of(shop) / "model.skops"
    own, elsewhere = file.read_bytes(), tmp_path / "other.skops"
    shop.add(trees=5)
    ours = {Path(model.artifact_location.removeprefix("file://")) for model in
            shop.client.search_logged_models(["0"])}  # fmt: skip
    (second,) = ours - {file.parent}
    file.write_bytes((second / "model.skops").read_bytes())
    with pytest.raises(StudyError, match="were changed since they were registered"):
        load_model(shop.registry, made)
    file.unlink()
    elsewhere.write_bytes(own)
    file.symlink_to(elsewhere)
    with pytest.raises((StudyError, DatabaseError)):
        load_model(shop.registry, made)
    tags = {SHA_TAG: made.tags[SHA_TAG]}
    shop.client.create_registered_model("elsewhere")
    for source in (f"file://{tmp_path}", f"file://{second}/../../../..", str(tmp_path)):
        other = shop.client.create_model_version("elsewhere", source, tags=tags)
        (version,) = shop.registry.versions("elsewhere")
        with pytest.raises((StudyError, DatabaseError)):
            load_model(shop.registry, version)
        shop.client.delete_model_version("elsewhere", other.version)


def test_loading_runs_no_code_of_the_model_and_unpickles_nothing(shop: Shop) -> None:
    """The folder contains code, names a loader and a file, and has a pickle: all are ignored."""
    folder = folder_of(shop)
    (folder / "code" / "grovekeeper_was_here.py").write_text("raise SystemExit('code was run')")
    (folder / "model.pkl").write_bytes(b"\x80\x04cposix\nsystem\n.")
    about = folder / "MLmodel"
    text = re.sub("loader_module: .*", "loader_module: grovekeeper_was_here", about.read_text())
    assert "grovekeeper_was_here" in text
    about.write_text(text.replace("pickled_model: model.skops", "pickled_model: ../model.pkl"))
    made = register_again(shop, folder)
    unpickled = []
    sys.addaudithook(
        lambda event, args: unpickled.append(args) if event == "pickle.find_class" else None
    )
    before = len(unpickled)
    assert load_model(shop.registry, made).pipeline.steps
    assert len(unpickled) == before
    assert "grovekeeper_was_here" not in sys.modules


def test_a_missing_or_invalid_record_is_refused(shop: Shop) -> None:
    folder = folder_of(shop)
    path = folder / "MLmodel"
    text = path.read_text()
    for changed, says in [
        (text.replace("grovekeeper:", "other:"), "was not registered by grovekeeper"),
        (text.replace("seed: 0", "seed: none"), "cannot read the record"),
    ]:
        path.write_text(changed)
        made = register_again(shop, folder)
        with pytest.raises(StudyError, match=says):
            load_model(shop.registry, made)

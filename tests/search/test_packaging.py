"""Only what was registered is loaded, and only types from the list."""

import os
from pathlib import Path

import mlflow
import pytest
import skops.io
from shop import Shop
from sklearn.preprocessing import FunctionTransformer

from search.dataset import load_dataset, make_vectorizer
from search.errors import StudyError
from search.packaging import TRUSTED_TYPES, load_model
from search.provenance import SHA_TAG
from storage.registry import folder_digest


@pytest.fixture
def shop(mlflow_file: str, tmp_path: Path) -> Shop:
    return Shop(mlflow_file, tmp_path)


def folder_of(shop: Shop) -> Path:
    (model,) = shop.client.search_logged_models(["0"])
    return Path(model.artifact_location.removeprefix("file://"))


def test_the_trusted_types_are_those_of_a_fitted_vectorizer_and_a_tree(mixed_csv: Path) -> None:
    houses = load_dataset(str(mixed_csv), "price", None, 0.2)
    vectorizer = make_vectorizer().fit(houses.features)
    found = set(skops.io.get_untrusted_types(data=skops.io.dumps(vectorizer)))
    assert found <= set(TRUSTED_TYPES)
    own = {"sklearn.tree._tree.Tree", "numpy.dtype"}
    elsewhere = set(TRUSTED_TYPES) - found - own
    # What only other tables need: time zones, and selectors that skrub chooses by the columns.
    assert {name.split(".")[0] for name in elsewhere} <= {"datetime", "pandas", "skrub", "zoneinfo"}
    assert not any(name.startswith(("builtins", "os", "subprocess")) for name in TRUSTED_TYPES)


def test_a_forged_type_is_not_loaded_though_the_digest_fits(shop: Shop) -> None:
    shop.add()
    folder = folder_of(shop)
    skops.io.dump(FunctionTransformer(os.system), folder / "model.skops")
    about = (folder / "MLmodel").read_text()
    (folder / "MLmodel").write_text(
        about.replace("trusted_types:", "trusted_types:\n    - posix.system")
    )
    shop.client.set_model_version_tag("houses", "1", SHA_TAG, folder_digest(folder))
    (made,) = shop.registry.versions("houses")
    with pytest.raises(StudyError, match=r"version 1 of houses is not loaded.*posix\.system"):
        load_model(shop.registry, made)


def test_what_mlflow_has_loaded_is_still_what_was_registered(shop: Shop) -> None:
    shop.add()
    (made,) = shop.registry.versions("houses")
    before = {path.name for path in folder_of(shop).iterdir()}
    mlflow.set_tracking_uri(shop.tracking_uri)
    mlflow.pyfunc.load_model("models:/houses/1")
    assert {path.name for path in folder_of(shop).iterdir()} - before == {"registered_model_meta"}
    assert load_model(shop.registry, made).version == made


def test_a_record_that_is_missing_or_odd_is_said(shop: Shop) -> None:
    shop.add()
    folder = folder_of(shop)
    path = folder / "MLmodel"
    text = path.read_text()
    for changed, says in [
        (text.replace("grovekeeper:", "other:"), "is not of grovekeeper"),
        (text.replace("seed: 0", "seed: none"), "cannot be read"),
    ]:
        path.write_text(changed)
        shop.client.set_model_version_tag("houses", "1", SHA_TAG, folder_digest(folder))
        (made,) = shop.registry.versions("houses")
        with pytest.raises(StudyError, match=says):
            load_model(shop.registry, made)

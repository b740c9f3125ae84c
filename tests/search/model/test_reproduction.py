"""Versions are trained again from their record, and compared bit by bit."""

from pathlib import Path

import numpy as np
import pytest
from shop import GOOD, ODD, Shop, table, three_versions

from search import environment
from search.data.dataset import load_again
from search.model.fingerprint import fingerprint
from search.model.provenance import Provenance
from search.model.reproduction import reproduce_version
from search.model.serialization import LoadedModel, load_model


@pytest.fixture
def shop(mlflow_file: str, tmp_path: Path) -> Shop:
    return Shop(mlflow_file, tmp_path)


@pytest.fixture
def loaded(empty_mlflow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedModel:
    """A version, whose table is in the working directory."""
    monkeypatch.chdir(tmp_path)
    registry = three_versions(empty_mlflow).copy_to(tmp_path).registry
    return load_model(registry, registry.versions("houses")[0])


@pytest.mark.slow
@pytest.mark.parametrize("holdout", [0.2, 0.0])
def test_a_version_of_a_raw_table_is_reproduced_bit_by_bit(
    shop: Shop, mixed_csv: Path, holdout: float
) -> None:
    made = shop.add(GOOD, data=str(mixed_csv), holdout=holdout, seed=3)
    loaded = load_model(shop.registry, made)
    done = reproduce_version(loaded)
    assert done.succeeded
    assert set(done.compared) == {"data", "content", "predictions"}
    assert done.compared["content"][0] == made.tags["grovekeeper.content_sha256"]
    rows = int(str(done.compared["predictions"][0]).split()[0])
    assert rows > 150 if holdout == 0 else 20 < rows < 90
    assert done.changed == ()


def test_a_version_of_format_1_is_reproduced_with_its_encoder(loaded: LoadedModel) -> None:
    """Tables of numbers had a `TableVectorizer`, which has no part in new versions."""
    old = loaded.provenance.model_copy(update={"format_version": 1, "vectorized": True})
    champion = old.refit(load_again(old.data))
    assert [type(step).__name__ for _, step in champion.pipeline.steps][:1] == ["TableVectorizer"]
    assert [type(step).__name__ for _, step in loaded.pipeline.steps][:1] == ["SelectCols"]
    first = old.model_copy(update={"content": fingerprint(champion.pipeline)})
    done = reproduce_version(LoadedModel(loaded.version, champion.pipeline, first))
    assert done.succeeded
    rows = table(50)[["size", "age", "street"]]
    np.testing.assert_array_equal(champion.pipeline.predict(rows), loaded.pipeline.predict(rows))


def test_a_changed_table_is_reported_and_nothing_is_refitted(loaded: LoadedModel) -> None:
    table(seed=1).to_csv("houses.csv", index=False)
    done = reproduce_version(loaded)
    assert not done.succeeded
    assert "houses.csv has changed" in done.changed[0]
    assert set(done.compared) == {"data"}


def test_changed_libraries_are_reported(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = environment.installed()
    monkeypatch.setattr(environment, "installed", lambda: now | {"skrub": "9.9"})
    done = reproduce_version(loaded)
    assert done.succeeded  # other versions, but the same results bit by bit
    assert done.changed == (f"skrub is 9.9, was {now['skrub']}",)


def test_another_forest_is_not_a_reproduction(loaded: LoadedModel) -> None:
    forged = loaded.provenance.model_copy(update={"seed": 8})
    loaded.__dict__["provenance"] = forged
    done = reproduce_version(loaded)
    assert not done.succeeded
    assert done.compared["data"][0] == done.compared["data"][1]
    assert done.compared["content"][0] != done.compared["content"][1]
    assert done.compared["predictions"][1] != done.compared["predictions"][0]


def test_the_record_is_read_as_written(loaded: LoadedModel) -> None:
    assert loaded.provenance.params == ODD
    assert loaded.provenance.versions == environment.installed()
    assert Provenance.model_validate_json(loaded.provenance.model_dump_json()) == (
        loaded.provenance
    )

"""The record of a version: written, read, and read as version 0.1.0 wrote it."""

from pathlib import Path
from typing import Any

import pytest
from mlflow.models import Model

from search.data.description import ResolvedDescription
from search.errors import StudyError
from search.model.provenance import Provenance

ASSETS = Path(__file__).parents[1] / "upgrade_assets" / "0.1.0"
VERSIONS = {
    "grovekeeper": "0.1.0",
    "machine": "x86_64",
    "numpy": "2.4.6",
    "pandas": "3.1.1",
    "python": "3.11.7",
    "scikit-learn": "1.9.1",
    "scipy": "1.17.1",
    "skrub": "0.11.0",
}
REGRESSION = Provenance(
    study="diabetes",
    study_uid="3d1f9665107c4346b2411a32a507e168",
    trial=2,
    params={
        "max_features": 0.95,
        "max_samples": 0.28,
        "min_samples_leaf": 3,
        "splitter": "random",
    },
    trees=138,
    seed=0,
    metric="rmse",
    data=ResolvedDescription(
        source="diabetes",
        digest="6c662f41aa0c6f97a0acfc0567e13f41f9d2e74281902380aa9b6ba84c946ce2",
        target="target",
        task="regression",
        holdout=0.2,
    ),
    content="7a9cf2a5efc44b6299bd68589ea75cc6a4be7b7e73dae8180fa8f1a7d072d5dd",
    versions=VERSIONS,
)
CLASSIFICATION = Provenance(
    study="oj",
    study_uid="2b532c73c9fd4aacb4e8b12bdcac9cac",
    trial=2,
    params={
        "max_features": 0.32,
        "max_samples": 0.85,
        "min_samples_leaf": 4,
        "splitter": "best",
    },
    trees=100,
    seed=0,
    metric="brier",
    data=ResolvedDescription(
        source="oj.csv",
        digest="94c19ff4d40f3bb2424563368e696c455231750facde7865c012f0b5b4445be1",
        target="Purchase",
        task="classification",
        holdout=0.2,
        group="WeekofPurchase",
    ),
    content="58288d3d8cfb8b79ea42cec146ad60bc5a57a97736f3d33ff7a1933542d0efdc",
    versions=VERSIONS,
)


def stored(record: Provenance, folder: Path) -> Any:
    """Write the metadata to an MLmodel file, and read it again."""
    Model(metadata=record.metadata()).save(str(folder / "MLmodel"))
    return Model.load(str(folder / "MLmodel")).metadata


@pytest.mark.parametrize(
    ("name", "expected"), [("regression", REGRESSION), ("classification", CLASSIFICATION)]
)
def test_a_record_of_version_0_1_0_is_read(name: str, expected: Provenance) -> None:
    metadata = Model.load(str(ASSETS / name / "MLmodel")).metadata
    assert "format_version" not in metadata["grovekeeper"]
    assert Provenance.read(metadata, "version 1 of m") == expected


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = CLASSIFICATION.model_copy(
        update={"params": {"max_features": 0.1 + 0.2, "max_depth": None}, "refit_of": 3}
    )
    metadata = stored(record, tmp_path)
    assert metadata["grovekeeper"]["format_version"] == 1
    assert Provenance.read(metadata, "version 1 of m") == record


def test_unknown_fields_are_kept(tmp_path: Path) -> None:
    metadata = REGRESSION.metadata()
    metadata["grovekeeper"]["later"] = {"a": [1]}
    metadata["grovekeeper"]["data"]["future"] = ["id"]
    record = Provenance.read(metadata, "version 1 of m")
    assert record.trees == 138
    assert stored(record, tmp_path) == metadata


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (None, "was not registered by grovekeeper"),
        ({"format_version": 3}, r"has format 3, .* reads up to format 2: upgrade grovekeeper"),
        ({"trees": "many"}, r"cannot read the record of how version 1 of m was made \(trees: "),
    ],
)
def test_a_record_that_cannot_be_read_is_refused(
    changes: dict[str, Any] | None, message: str
) -> None:
    metadata = REGRESSION.metadata()
    if changes is None:
        metadata = {}
    else:
        metadata["grovekeeper"].update(changes)
    with pytest.raises(StudyError, match=message):
        Provenance.read(metadata, "version 1 of m")

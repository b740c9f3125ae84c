"""The comparison of studies as a JSON document."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from optuna.distributions import CategoricalDistribution
from settled import settle

from search.cli.output import print_json
from search.report.comparison import Comparison, compare_studies
from search.study.notes import read_initialized
from storage.records import TrialRecord
from storage.studies.study import Study, StudyBook

DEPTHS = {"max_depth": CategoricalDistribution([None, 4])}


@pytest.fixture
def finished(book: StudyBook) -> list[Study]:
    """Two studies of the same table with a complete trial each, mirrored to one MLflow server."""
    studies = [book.make(name, "minimize") for name in ("a", "b")]
    for study, depth in zip(studies, (None, 4), strict=True):
        pages = {"experiment_id": "1", "run_id": f"run-{study.name}"}
        settle(
            study,
            holdout={"rmse": 2.5},
            mirror={"runs": 1, "behind": 0, "tracking_uri": "http://mlflow:5000/"} | pages,
            seconds={"register": 2.0},
        )
        trial = TrialRecord(0, "COMPLETE", {"max_depth": depth}, value=3.0)
        study.enter_trial(trial, DEPTHS)
    return studies


def printed(comparison: Comparison, capsys: pytest.CaptureFixture[str]) -> Any:
    print_json(comparison.model_dump())
    document = json.loads(capsys.readouterr().out)
    Draft202012Validator(Comparison.model_json_schema()).validate(document)
    return document


def test_the_document_meets_its_schema(
    finished: list[Study], capsys: pytest.CaptureFixture[str]
) -> None:
    document = printed(compare_studies(finished), capsys)
    assert (document["comparable"], document["differ"]) == (True, [])
    assert document["params"] == {"max_depth": ["none", 4]}
    runs = "runs=%5B%22run-a%22%2C%20%22run-b%22%5D&experiments=%5B%221%22%5D"
    assert document["mlflow"] == f"http://mlflow:5000/#/compare-runs?{runs}"
    assert document["format_version"] == 1
    study = document["studies"][1]
    assert study["data"] == {"source": "houses.csv", "digest": "d" * 64, "target": "price"}
    assert (study["study"], study["best"]["params"]) == ("b", {"max_depth": 4})
    assert (study["holdout"], study["seconds"]) == ({"rmse": 2.5}, {"register": 2.0})


def test_studies_of_other_programs_are_not_comparable(
    book: StudyBook, capsys: pytest.CaptureFixture[str]
) -> None:
    apart = [book.make("low", "minimize"), book.make("high", "maximize")]
    document = printed(compare_studies(apart), capsys)
    assert (document["comparable"], document["differ"]) == (False, ["data", "direction"])
    assert document["studies"][0]["data"] == {"source": None, "digest": None, "target": None}
    assert document["mlflow"] is None


def test_studies_that_drop_other_columns_are_not_comparable(book: StudyBook) -> None:
    apart = [book.make(name, "minimize") for name in ("a", "b")]
    settle(apart[0])
    settle(apart[1], spec=read_initialized(apart[0]).spec.model_dump() | {"drop": ["id"]})
    assert compare_studies(apart).differ == ["dropped columns"]


def test_the_choice_none_differs_from_a_missing_parameter(book: StudyBook) -> None:
    studies = [book.make(name, "minimize") for name in ("a", "b")]
    for study, params in zip(studies, ({"max_depth": None}, {}), strict=True):
        settle(study)
        space = {name: DEPTHS[name] for name in params}
        study.enter_trial(TrialRecord(0, "COMPLETE", params, value=1.0), space)
    assert compare_studies(studies).params == {"max_depth": ["none", None]}


def test_a_printed_comparison_can_be_read_again(finished: list[Study]) -> None:
    found = compare_studies(finished)
    assert Comparison.model_validate(found.model_dump()) == found

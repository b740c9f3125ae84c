"""The summary as a JSON document."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from settled import settle, summary_of

from search.cli.output import print_json
from search.report.summary import StudySummary, summarize
from storage.records import TrialRecord
from storage.studies.study import Study, StudyBook

SCHEMA = StudySummary.model_json_schema()


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    book = StudyBook(f"sqlite:///{tmp_path}/optuna.db", create=True)
    yield book.make("houses", "minimize")
    book.rdb.remove_session()
    book.rdb.engine.dispose()


def printed(summary: StudySummary, capsys: pytest.CaptureFixture[str]) -> Any:
    print_json(summary.model_dump())
    return json.loads(capsys.readouterr().out)


def test_a_new_study_of_another_program_meets_the_schema(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    Draft202012Validator(SCHEMA).validate(printed(summarize(study), capsys))


def test_a_finished_study_meets_the_schema(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    champion = {"name": "houses", "trial": 0, "trees": 128}
    settle(
        study,
        champion=champion,
        model=champion | {"version": 1},
        holdout={"rmse": 2.5, "r2": math.nan},
        mirror={"runs": 1, "behind": 0, "tracking_uri": "sqlite:///mlflow.db", "run_id": "abc"},
        seconds={"prepare": 1.5, "register": 2.0},
    )
    study.enter_trial(TrialRecord(0, "COMPLETE", {}, value=3.0, covered=0.9), {})
    document = printed(summarize(study), capsys)
    Draft202012Validator(SCHEMA).validate(document)
    best = {"number": 0, "value": 3.0, "params": {}, "state": "COMPLETE", "rows": None}
    best |= {"model_bytes": None}
    assert document["best"] == best
    assert document["model"] == {"name": "houses", "version": 1}
    assert document["holdout"] == {"rmse": 2.5, "r2": None}
    assert document["seconds"] == {"prepare": 1.5, "register": 2.0}
    assert (document["covered"], document["format_version"]) == (0.9, 1)


def test_the_schema_refuses_a_document_without_one_of_its_keys() -> None:
    document = summary_of("houses").model_dump()
    validator = Draft202012Validator(SCHEMA)
    assert validator.is_valid(document)
    for key in document.keys() - {"format_version"}:
        assert not validator.is_valid({k: v for k, v in document.items() if k != key})


def test_a_printed_document_can_be_read_again() -> None:
    summary = summary_of("houses", seconds={"register": 2.0})
    assert StudySummary.model_validate(summary.model_dump()) == summary

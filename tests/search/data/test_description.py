import pytest
from pydantic import ValidationError

from search.data.description import LISTS, ROLES, DataDescription, ResolvedDescription
from search.study.spec import StudySpec, make_spec

# The identity of a study as version 0.1.0 stored it, as far as it describes the data.
STORED = {
    "data": "oj.csv",
    "data_digest": "94c1",
    "target": "Purchase",
    "task": "classification",
    "metric": "brier",
    "seed": 0,
    "holdout": 0.2,
    "evaluation": "5 folds",
    "group": "WeekofPurchase",
    "space": {"splitter": "…"},
}


def test_a_stored_identity_is_read_and_written_unchanged() -> None:
    description = ResolvedDescription.from_identity(STORED)
    assert description == ResolvedDescription(
        source="oj.csv",
        digest="94c1",
        target="Purchase",
        task="classification",
        holdout=0.2,
        group="WeekofPurchase",
    )
    others = ("metric", "seed", "evaluation", "space")
    assert description.identity() == {k: v for k, v in STORED.items() if k not in others}


def test_it_holds_no_password() -> None:
    address = "postgresql://ann:swordfish@db/shop"
    assert "swordfish" not in DataDescription(source=address, holdout=0.2).source
    spec = make_spec({"data": address, "query": "select 1"})
    assert spec.description.source == "postgresql://ann:***@db/shop"
    assert "swordfish" in spec.address


def test_a_specification_describes_its_data() -> None:
    spec = StudySpec(data="houses.csv", target="price", weight="w", time="sold", holdout=0.1)
    assert spec.description == DataDescription(
        source="houses.csv", target="price", weight="w", time="sold", holdout=0.1
    )
    assert spec.description.roles == {"weight": "w", "time": "sold"}


def test_the_order_of_listed_columns_does_not_matter() -> None:
    lists = {"drop": ["b", "a", "b"], "categorical": ("c",)}
    description = StudySpec(data="houses.csv", **lists).description
    assert (description.drop, description.categorical) == (("a", "b"), ("c",))
    assert description.assignments == [("drop", "a"), ("drop", "b"), ("categorical", "c")]
    stored = description.identity()
    assert stored == {
        "data": "houses.csv",
        "holdout": 0.2,
        "drop": ["a", "b"],
        "categorical": ["c"],
    }
    assert DataDescription.from_identity(stored) == description


def test_every_role_is_a_field_and_an_option() -> None:
    assert {*ROLES, *LISTS} <= set(DataDescription.model_fields) & set(StudySpec.model_fields)


def test_a_table_that_was_read_has_a_target_a_task_and_a_digest() -> None:
    with pytest.raises(ValidationError, match="digest"):
        ResolvedDescription.from_identity({"data": "a.csv", "holdout": 0.2})

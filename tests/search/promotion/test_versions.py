import pytest

from search.errors import UsageError
from search.model.provenance import (
    DIGEST_TAG,
    HOLDOUT_PREFIX,
    METRIC_TAG,
    ROLES_TAG,
    SHARE_TAG,
    TARGET_TAG,
)
from search.promotion.versions import best_version, choose, scores
from storage.records import ModelVersion


def version(
    number: int, score: float | None, metric: str = "rmse", digest: str = "d", **tags: str
) -> ModelVersion:
    tags |= {METRIC_TAG: metric, DIGEST_TAG: digest}
    if score is not None:
        tags[HOLDOUT_PREFIX + metric] = repr(score)
    return ModelVersion("m", number, "None", (), "run", tags)


@pytest.mark.parametrize(
    ("versions", "best"),
    [
        ([version(1, 5.0), version(2, 4.0), version(3, 6.0)], 2),
        ([version(1, 0.7, "r2"), version(2, 0.9, "r2"), version(3, 0.8, "r2")], 2),
        ([version(1, 4.0), version(2, 4.0)], 2),
        ([version(1, 1.0, digest="other"), version(2, 4.0), version(3, 6.0)], 2),
        ([version(1, 0.1, "mae"), version(2, 4.0), version(3, 6.0)], 2),
        ([version(1, 1.0, **{TARGET_TAG: "rooms"}), version(2, 4.0, **{TARGET_TAG: "price"})], 2),
        ([version(1, 1.0), version(2, 4.0, **{ROLES_TAG: "group=owner"})], 2),
        ([version(1, 1.0, **{SHARE_TAG: "0.05"}), version(2, 4.0, **{SHARE_TAG: "0.2"})], 2),
        ([version(1, 4.0, **{SHARE_TAG: "0.2"}), version(2, None, **{SHARE_TAG: "0.0"})], 1),
        ([version(1, 4.0), version(2, None)], 1),
        ([version(1, None), version(2, None)], 2),
    ],
)
def test_the_best_version_has_the_best_score_among_versions_comparable_with_the_newest(
    versions: list[ModelVersion], best: int
) -> None:
    assert best_version(versions).version == best


def test_a_version_is_chosen_by_its_number() -> None:
    versions = [version(1, 5.0), version(3, 4.0)]
    assert choose("m", versions, 1).version == 1
    assert choose("m", versions, None).version == 3
    with pytest.raises(UsageError, match="m has no version 2: there are 1, 3"):
        choose("m", versions, 2)
    assert scores(versions[0]) == {"rmse": 5.0}

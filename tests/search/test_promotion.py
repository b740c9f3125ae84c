import pytest

from search.promotion import DIGEST_TAG, HOLDOUT_PREFIX, METRIC_TAG, best_version
from storage.records import ModelVersion


def version(
    number: int, score: float | None, metric: str = "rmse", digest: str = "d"
) -> ModelVersion:
    tags = {METRIC_TAG: metric, DIGEST_TAG: digest}
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
        ([version(1, 4.0), version(2, None)], 1),
        ([version(1, None), version(2, None)], 2),
    ],
)
def test_the_best_on_the_hold_out_of_the_newests_data_and_metric_stands_for_the_model(
    versions: list[ModelVersion], best: int
) -> None:
    assert best_version(versions).version == best

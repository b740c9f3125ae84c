"""Promotion and rollback of real registered versions."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft202012Validator
from shop import GOOD, WEAK, Shop, table, three_versions

from search.errors import StudyError, UsageError
from search.model.provenance import HOLDOUT_PREFIX, REFIT_TAG
from search.promotion import evaluation
from search.promotion.history import BY_HAND, History, StageDocument, history
from search.promotion.promote import check_reason
from storage.errors import NotFoundError, StorageError
from storage.records import ModelVersion
from storage.registry import transitions
from storage.registry.client import Registry


@pytest.fixture
def small_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reduce scikit-learn's default forest, whose score is shown and decides nothing."""
    monkeypatch.setattr(evaluation, "_DEFAULT_TREES", 5)


@pytest.fixture
def shop(
    small_default: None, empty_mlflow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Shop:
    """A registry with three versions, the second of which is worse than the others."""
    monkeypatch.chdir(tmp_path)
    return three_versions(empty_mlflow).copy_to(tmp_path)


@pytest.fixture
def empty_shop(small_default: None, mlflow_file: str, tmp_path: Path) -> Shop:
    return Shop(mlflow_file, tmp_path)


def test_the_first_version_must_beat_a_constant_forecast(shop: Shop) -> None:
    move = shop.promote(1)
    assert move is not None
    assert move.judgement is not None
    assert move.judgement.verdict == "better than a constant forecast"
    assert move.judgement.rows == pytest.approx(80, abs=25)
    assert any("default forest: rmse" in text for text in shop.messages)
    assert shop.holder() == 1
    assert shop.promote(1) is None  # it is in the stage already
    assert "moved to Staging" in shop.client.get_model_version("houses", "1").description


@pytest.mark.slow
def test_a_first_version_that_does_not_beat_a_constant_forecast_is_refused(
    empty_shop: Shop,
) -> None:
    empty_shop.write(table(signal=0))
    empty_shop.add({"max_features": 0.1, "min_samples_leaf": 1}, trees=5)
    with pytest.raises(StudyError, match="not better than a constant"):
        empty_shop.promote()
    assert empty_shop.holder() is None


def test_a_worse_version_is_refused_and_recorded_and_may_be_forced(shop: Shop) -> None:
    shop.promote(1)
    with pytest.raises(StudyError, match=r"shown to be worse.*Nothing is changed"):
        shop.promote(2)
    assert shop.holder() == 1
    assert "refused for Staging" in shop.client.get_model_version("houses", "2").description
    move = shop.promote(2, force=True, reason="a demonstration")
    assert move is not None
    assert (move.action, move.reason) == ("force", "a demonstration")
    assert shop.holder() == 2
    actions = [m.action for m in history(shop.registry, "houses").moves]
    assert actions == ["promote", "refuse", "force"]


@pytest.mark.slow
def test_by_default_the_best_version_is_promoted(shop: Shop) -> None:
    shop.promote(2)
    rmse = {
        v.version: float(v.tags[f"{HOLDOUT_PREFIX}rmse"]) for v in shop.registry.versions("houses")
    }
    best = min(rmse, key=rmse.__getitem__)
    move = shop.promote(strict=True)
    assert move is not None
    assert move.judgement is not None
    assert (move.version, move.incumbent) == (best, 2)
    assert move.judgement.verdict == "shown to be better"
    assert move.judgement.interval is not None
    assert move.judgement.interval[1] < 0
    assert f"version {best} is the best on the hold-out" in shop.messages


@pytest.mark.slow
def test_a_version_without_a_difference_passes_unless_strict(shop: Shop) -> None:
    shop.promote(1)
    with pytest.raises(StudyError, match="no difference shown"):
        shop.promote(3, strict=True)
    move = shop.promote(3)
    assert move is not None
    assert move.judgement is not None
    assert move.judgement.verdict == "no difference shown"


@pytest.mark.slow
def test_tolerance_passes_a_worse_version_and_a_requirement_refuses_a_good_one(shop: Shop) -> None:
    with pytest.raises(StudyError, match=r"rmse is .*, but must be at most 0\.01"):
        shop.promote(1, required=("r2=0.1", "rmse=0.01"))
    with pytest.raises(UsageError, match="did you mean 'rmse'"):
        shop.promote(1, required=("rsme=0.01",))
    shop.promote(1, required=("r2=0.1",))
    assert shop.promote(2, tolerance=1.0) is not None


@pytest.mark.slow
def test_versions_without_a_hold_out_cannot_be_judged(shop: Shop) -> None:
    shop.add(GOOD, holdout=0.0)
    with pytest.raises(StudyError, match=r"was trained on every row.*--force --reason TEXT"):
        shop.promote(4)
    move = shop.promote(4, force=True, reason="first of all")
    assert move is not None
    assert move.judgement is not None
    assert move.judgement.verdict == "could not be judged"
    with pytest.raises(StudyError, match="the version to be replaced, was trained on every row"):
        shop.promote(1)


@pytest.mark.slow
def test_versions_are_compared_on_the_rows_held_out_from_both(shop: Shop) -> None:
    shop.add(GOOD, holdout=0.4)
    shop.add(GOOD, trees=9, holdout=0.4)
    first, second, third = shop.promote(4), shop.promote(1), shop.promote(5)
    rows = [move.judgement.rows for move in (first, second, third) if move and move.judgement]
    assert rows[0] > 1.5 * rows[1]
    assert rows[1] == rows[2]


@pytest.mark.slow
def test_held_out_rows_stay_held_out_in_a_longer_table_but_not_with_other_columns(
    shop: Shop,
) -> None:
    shop.promote(1)
    shop.add(GOOD, trees=9, data=shop.write(table(600), "longer.csv"))
    shop.messages.clear()
    move = shop.promote(4)
    assert move is not None
    assert not any("not known" in text for text in shop.messages)
    wider = table(600)
    wider["garden"] = range(600)
    shop.add(GOOD, trees=9, data=shop.write(wider, "wider.csv"))
    shop.promote(5, tolerance=1.0)
    assert any("not known whether version 4" in text for text in shop.messages)
    with pytest.raises(StudyError, match="needs the column 'garden'"):
        shop.promote(3)


@pytest.mark.slow
def test_a_version_that_drops_a_column_is_compared_with_one_that_uses_it(
    empty_shop: Shop,
) -> None:
    houses = table()
    houses["number"] = range(len(houses))
    path = empty_shop.write(houses, "numbered.csv")
    empty_shop.add(GOOD, data=path)
    empty_shop.promote()
    empty_shop.add(GOOD, data=path, drop=["number"])
    empty_shop.messages.clear()
    move = empty_shop.promote(2, tolerance=1.0)
    assert move is not None
    assert move.version == 2
    # Rows are held out by the values of the features: the incumbent was trained on some of them.
    assert any("not known whether version 1" in text for text in empty_shop.messages)
    empty_shop.messages.clear()
    empty_shop.add(GOOD, trees=9, data=path, drop=["number"])
    empty_shop.promote(3, tolerance=1.0)
    assert not any("not known" in text for text in empty_shop.messages)


def test_an_incumbent_reads_dates_that_the_candidates_table_spells_otherwise(
    empty_shop: Shop,
) -> None:
    houses, days = table(), pd.date_range("2023-01-01", periods=400)
    houses["price"] = np.arange(400.0)
    spelled = [houses.assign(sold=days.strftime(form)) for form in ("%Y-%m-%d", "%Y/%m/%d")]
    for number, rows in enumerate(spelled):
        empty_shop.add(GOOD, data=empty_shop.write(rows, f"{number}.csv"))
    empty_shop.promote(1)
    move = empty_shop.promote(2, tolerance=1.0)
    assert move is not None
    assert move.judgement is not None
    assert move.judgement.incumbent < 50  # a constant forecast is wrong by 115
    unknown = spelled[0].assign(sold="spring " + days.strftime("%Y"))
    empty_shop.add(GOOD, data=empty_shop.write(unknown, "2.csv"))
    with pytest.raises(StudyError, match=r"cannot read the candidate's table \(column 'sold'"):
        empty_shop.promote(3)


@pytest.mark.slow
def test_versions_with_different_targets_cannot_be_compared(shop: Shop) -> None:
    shop.promote(1)
    shop.add(GOOD, target="size")
    with pytest.raises(StudyError, match=r"predicts 'price'.*not 'size'"):
        shop.promote(4)


def classes() -> pd.DataFrame:
    """Return houses with two classes as the target."""
    houses = table()
    houses["dear"] = (houses.pop("price") > 0).map({True: "yes", False: "no"})
    return houses


def promote_two_classifiers(shop: Shop, houses: pd.DataFrame, **roles: str) -> None:
    path = shop.write(houses, "classes.csv")
    for number, trees in enumerate((5, 6), 1):
        shop.add(GOOD, trees, data=path, target="dear", **roles)
        move = shop.promote(number, tolerance=1.0)
        assert move is not None
        assert move.judgement is not None
        assert move.judgement.metric == "brier"


@pytest.mark.slow
def test_the_gate_supports_classes_groups_and_weights_and_refuses_other_classes(
    empty_shop: Shop,
) -> None:
    houses = classes()
    houses["weight"] = 1.0
    houses["owner"] = houses.index // 4
    roles = {"weight": "weight", "group": "owner"}
    promote_two_classifiers(empty_shop, houses, **roles)
    houses["dear"] = houses["dear"].replace({"no": "never"})
    others = empty_shop.write(houses, "others.csv")
    empty_shop.add(GOOD, 5, data=others, target="dear", **roles)
    with pytest.raises(StudyError, match="predicts other classes"):
        empty_shop.promote(3)


@pytest.mark.slow
def test_the_gate_supports_classes_and_times(empty_shop: Shop) -> None:
    promote_two_classifiers(empty_shop, classes(), time="age")


@pytest.mark.slow
def test_a_changed_or_moved_table_is_reported(shop: Shop) -> None:
    (shop.folder / "houses.csv").rename(shop.folder / "moved.csv")
    with pytest.raises(StudyError, match="name it with --data"):
        shop.promote(1)
    shop.write(table(seed=1))
    with pytest.raises(StudyError, match="is not the table that version 1"):
        shop.promote(1)
    assert shop.promote(1, data=str(shop.folder / "moved.csv")) is not None


@pytest.mark.slow
def test_a_refit_on_every_row_is_judged_by_its_original(shop: Shop) -> None:
    move = shop.promote(1, refit_all=True)
    assert move is not None
    assert move.version == 4
    refitted = shop.client.get_model_version("houses", "4")
    assert refitted.tags[REFIT_TAG] == "1"
    assert not any(name.startswith(HOLDOUT_PREFIX) for name in refitted.tags)
    with pytest.raises(StudyError, match="shown to be worse"):
        shop.promote(2)
    assert shop.promote(1, refit_all=True) is None  # it is in the stage already
    shop.promote(1)
    assert shop.holder() == 1
    shop.promote(1, refit_all=True)
    assert shop.holder() == 4
    assert shop.promote(4, refit_all=True) is None  # a refit is not refitted
    assert len(shop.registry.versions("houses")) == 4
    shop.promote(4, stage="Production")
    assert shop.holder("Production") == 4
    with pytest.raises(StudyError, match="would leave Production empty"):
        shop.promote(1, refit_all=True)


def test_a_refit_needs_the_original_table_even_by_force(shop: Shop) -> None:
    shop.write(table(seed=1))
    with pytest.raises(StudyError, match="cannot be refitted: name that table with --data"):
        shop.promote(1, refit_all=True, force=True, reason="now")
    assert len(shop.registry.versions("houses")) == 3


@pytest.mark.slow
def test_a_refit_can_be_promoted_while_its_original_is_in_production(shop: Shop) -> None:
    shop.promote(1, stage="Production")
    assert shop.promote(1, refit_all=True) is not None
    assert (shop.holder("Production"), shop.holder()) == (1, 4)


def test_changed_files_are_refused_with_both_digests_even_by_force(shop: Shop) -> None:
    made = shop.registry.versions("houses")[0]
    for model in shop.client.search_logged_models(["0"]):
        path = Path(model.artifact_location.removeprefix("file://")) / "model.skops"
        path.write_bytes(path.read_bytes() + b"\0")
    registered = made.tags["grovekeeper.model_sha256"]
    with pytest.raises(StudyError, match=rf"SHA-256 is [0-9a-f]{{64}}, registered is {registered}"):
        shop.promote(1, force=True, reason="in a hurry")
    shop.client.delete_model_version_tag("houses", "1", "grovekeeper.model_sha256")
    with pytest.raises(StudyError, match="not registered by grovekeeper"):
        shop.promote(1, force=True, reason="in a hurry")


@pytest.mark.slow
def test_repeated_rollbacks_go_further_back(shop: Shop) -> None:
    for number in (2, 1, 3):
        shop.promote(number)
    with pytest.raises(StudyError, match="nothing to go back to: nothing is in Production"):
        shop.rollback("Production")
    move = shop.rollback(reason="it drifts")
    assert (move.version, move.incumbent, move.reason) == (1, 3, "it drifts")
    assert shop.rollback().version == 2
    with pytest.raises(StudyError, match="version 2 is in Staging"):
        shop.rollback()
    assert shop.holder() == 2


@pytest.mark.slow
def test_changes_by_hand_are_shown_and_rolled_back(shop: Shop) -> None:
    shop.promote(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shop.client.transition_model_version_stage("houses", "2", "Staging", True)
    found = history(shop.registry, "houses")
    assert [(m.action, m.version) for m in found.moves] == [("promote", 1), (BY_HAND, 2)]
    assert found.now["Staging"] == StageDocument(version=2, alias=1)
    assert shop.rollback().version == 1
    found = history(shop.registry, "houses")
    assert [m.action for m in found.moves] == ["promote", BY_HAND, "rollback"]
    assert found.now["Staging"] == StageDocument(version=1, alias=1)
    assert found.now["Production"] == StageDocument(version=None, alias=None)
    Draft202012Validator(History.model_json_schema()).validate(
        json.loads(json.dumps(found.model_dump()))
    )


@pytest.mark.slow
def test_a_move_from_staging_to_production_is_not_a_change_by_hand(shop: Shop) -> None:
    shop.promote(1)
    shop.promote(1, stage="Production")
    found = history(shop.registry, "houses")
    assert [m.action for m in found.moves] == ["promote", "promote"]
    with pytest.raises(StudyError, match="would leave Production empty"):
        shop.promote(1)


class InterruptedRegistry(Registry):
    """Calls a function once, before the first download or after the first tag is set."""

    def __init__(
        self,
        tracking_uri: str,
        before_download: Callable[[], object] | None = None,
        after_set_tag: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(tracking_uri)
        self._before_download, self._after_set_tag = before_download, after_set_tag

    def download(self, version: ModelVersion, folder: Path) -> Path:
        call, self._before_download = self._before_download, None
        if call is not None:
            call()
        return super().download(version, folder)

    def set_tag(self, name: str, key: str, value: str) -> None:
        super().set_tag(name, key, value)
        call, self._after_set_tag = self._after_set_tag, None
        if call is not None:
            call()


def test_an_overtaken_move_is_reported_with_the_user_who_overtook_it(shop: Shop) -> None:
    def record_another_move() -> None:
        other = shop.registry.versions("houses")[1]
        move = transitions.new_move(other, "Staging", action="promote", incumbent=None)
        transitions.record(shop.registry, "houses", move)

    registry = InterruptedRegistry(shop.tracking_uri, after_set_tag=record_another_move)
    with pytest.raises(StorageError, match=r"version 1 of houses was overtaken: .* version 2"):
        shop.promote(1, registry)
    assert shop.holder() == 2
    states = [m.state for m in history(shop.registry, "houses").moves]
    assert states == ["overtaken", "done"]


@pytest.mark.slow
def test_a_version_is_not_moved_if_the_stage_changed_while_it_was_judged(shop: Shop) -> None:
    registry = InterruptedRegistry(shop.tracking_uri, before_download=lambda: shop.promote(1))
    with pytest.raises(
        StudyError, match="Staging of houses has changed while version 3 was judged"
    ):
        shop.promote(3, registry)
    assert shop.holder() == 1
    assert [m.version for m in history(shop.registry, "houses").moves] == [1]


@pytest.mark.slow
def test_an_interrupted_move_is_completed_by_the_next_call(shop: Shop) -> None:
    first, gone, _ = shop.registry.versions("houses")
    more = {"action": "promote", "incumbent": None}
    transitions.record(shop.registry, "houses", transitions.new_move(first, "Production", **more))
    transitions.record(shop.registry, "houses", transitions.new_move(gone, "Staging", **more))
    states = [m.state for m in history(shop.registry, "houses").moves]
    assert states == ["open", "open"]
    shop.client.delete_model_version("houses", "2")
    shop.promote(3)
    assert (shop.holder("Production"), shop.holder()) == (1, 3)
    states = [m.state for m in history(shop.registry, "houses").moves]
    assert states == ["done", "overtaken", "done"]


@pytest.mark.slow
def test_promotion_works_on_an_mlflow_server(
    mlflow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # Other tests use the same server, and may have a model "houses" there.
    shop = Shop(mlflow_server, tmp_path, name="sheds")
    shop.add(WEAK)
    shop.promote()
    shop.add(GOOD)
    move = shop.promote()
    assert move is not None
    assert (move.version, move.incumbent) == (2, 1)
    assert shop.holder() == 2
    assert shop.rollback().version == 1
    found = history(shop.registry, "sheds")
    assert [m.action for m in found.moves] == ["promote", "promote", "rollback"]


def test_an_unknown_model_is_reported(empty_shop: Shop) -> None:
    with pytest.raises(NotFoundError, match="no model 'houses'"):
        empty_shop.promote()


@pytest.mark.slow
def test_an_unknown_version_is_reported(shop: Shop) -> None:
    with pytest.raises(UsageError, match="houses has no version 7: there are 1"):
        shop.promote(7)


def test_a_reason_is_one_line_of_limited_length() -> None:
    assert check_reason(None) is None
    assert check_reason(" it\ndrifts ") == "it drifts"
    with pytest.raises(UsageError, match="1001 characters"):
        check_reason("x" * 1001)

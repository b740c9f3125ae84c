"""Stage transitions are recorded before they are carried out; they survive crashes and races."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from examples import add_version
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from storage.errors import StorageError
from storage.records import Judgement, ModelVersion, Move
from storage.registry.client import Registry
from storage.registry.transitions import REASON_LENGTH, new_move, read_moves, record, settle

FOUND = Judgement("shown to be better", "rmse", 3.5, 4.0, (-1.0, -0.25), 90)
WRITES = (
    "set_registered_model_tag",
    "transition_model_version_stage",
    "set_registered_model_alias",
    "delete_registered_model_alias",
)


class KilledError(BaseException):
    """Simulates a crash of the process."""


def promotion(version: ModelVersion, stage: Any = "Staging", **more: Any) -> Move:
    return new_move(version, stage, **({"action": "promote", "incumbent": None} | more))


def promote(registry: Registry, version: ModelVersion, stage: Any = "Staging") -> Move | None:
    record(registry, version.name, promotion(version, stage))
    return settle(registry, version.name, stage)


def held_by_stage_and_alias(
    registry: Registry, name: str, stage: str
) -> tuple[list[int], list[int]]:
    """Return the versions in a stage and the versions that its alias names."""
    versions = registry.versions(name)
    return (
        [v.version for v in versions if v.stage == stage],
        [v.version for v in versions if stage.lower() in v.aliases],
    )


def two_versions(registry: Registry, name: str, folder: Path) -> list[ModelVersion]:
    return [add_version(registry, name, folder / "m", str(n)) for n in range(2)]


def test_a_recorded_move_is_read_back_with_all_fields(
    registry: Registry, name: str, tmp_path: Path
) -> None:
    version, _ = two_versions(registry, name, tmp_path)
    reason = ("ä" * REASON_LENGTH)[:REASON_LENGTH]
    move = record(registry, name, promotion(version, incumbent=7, reason=reason, judgement=FOUND))
    assert read_moves(registry, name) == [move]
    done = settle(registry, name, "Staging")
    assert done == replace(move, state="done")
    assert read_moves(registry, name) == [done]
    refused = record(registry, name, promotion(version, action="refuse", state="refused"))
    assert settle(registry, name, "Staging") == done
    assert read_moves(registry, name) == [done, refused]
    tags = MlflowClient(registry._uri, registry._uri).get_registered_model(name).tags
    assert max(map(len, tags.values())) < 5000


def test_tags_of_other_tools_are_not_moves(registry: Registry, name: str, tmp_path: Path) -> None:
    version, _ = two_versions(registry, name, tmp_path)
    move = record(registry, name, promotion(version))
    for key, text in [
        ("grovekeeper.move.000009-00000000", "no JSON"),
        ("grovekeeper.move.000009-00000001", "[1]"),
        ("grovekeeper.move.000009-00000002", json.dumps({"judgement": None, "odd": 1})),
        ("grovekeeper.move.9", "{}"),
        ("team", "forests"),
    ]:
        registry.set_tag(name, key, text)
    assert read_moves(registry, name) == [move]


def test_an_alias_is_removed_when_its_version_leaves_the_stage(
    registry: Registry, name: str, tmp_path: Path
) -> None:
    version, _ = two_versions(registry, name, tmp_path)
    promote(registry, version)
    promote(registry, registry.versions(name)[0], "Production")
    assert held_by_stage_and_alias(registry, name, "Staging") == ([], [])
    assert held_by_stage_and_alias(registry, name, "Production") == ([1], [1])


def test_later_changes_by_hand_are_kept(registry: Registry, name: str, tmp_path: Path) -> None:
    first, second = two_versions(registry, name, tmp_path)
    promote(registry, first)
    registry.move(second, "Staging")
    settle(registry, name, "Staging")
    assert held_by_stage_and_alias(registry, name, "Staging") == ([2], [2])


def test_a_move_to_a_deleted_version_fails_once_and_does_not_block_others(
    registry: Registry, name: str, tmp_path: Path
) -> None:
    first, second = two_versions(registry, name, tmp_path)
    record(registry, name, promotion(first))
    MlflowClient(registry._uri, registry._uri).delete_model_version(name, "1")
    with pytest.raises(StorageError, match=r"version 1 .* was deleted"):
        settle(registry, name, "Staging")
    promote(registry, second)
    assert held_by_stage_and_alias(registry, name, "Staging") == ([2], [2])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tracking_uri", "when"),
    # A crash before a call leaves the same as one after the call before it.
    [("sqlite", "after"), ("server", "before")],
    indirect=["tracking_uri"],
)
def test_the_next_settle_completes_a_move_after_a_crash_at_any_call(
    registry: Registry, name: str, tmp_path: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two_versions(registry, name, tmp_path)
    promote(registry, second)
    promote(registry, first, "Production")
    calls = 0
    while True:
        calls += 1
        with monkeypatch.context() as patch:
            _crash_at(patch, calls, when)
            try:
                # The move from Production to Staging sets a stage, sets an alias and deletes the
                # alias of Production.
                promote(registry, registry.versions(name)[0])
            except KilledError:
                pass
            else:
                break
        # After a crash at any call, stage and alias must each name one loadable version.
        held, named = held_by_stage_and_alias(registry, name, "Staging")
        assert len(held) == len(named) == 1
        done = settle(registry, name, "Staging")
        assert done is not None
        expected = (
            1
            if any(
                move.version == 1 and move.stage == "Staging" for move in read_moves(registry, name)
            )
            else 2
        )
        assert held_by_stage_and_alias(registry, name, "Staging") == ([expected], [expected])
        assert {move.state for move in read_moves(registry, name)} == {"done"}
        promote(registry, registry.versions(name)[1])
        promote(registry, registry.versions(name)[0], "Production")
    assert calls > 5


def _crash_at(patch: pytest.MonkeyPatch, call: int, when: str) -> None:
    """Raise `KilledError` before or after the write with this number."""
    count = [0]

    def crashing(original: Callable[..., Any]) -> Callable[..., Any]:
        def write(*args: Any, **kwargs: Any) -> Any:
            count[0] += 1
            if count[0] == call and when == "before":
                raise KilledError
            result = original(*args, **kwargs)
            if count[0] == call:
                raise KilledError
            return result

        return write

    for method in WRITES:
        patch.setattr(MlflowClient, method, crashing(getattr(MlflowClient, method)))


@pytest.mark.slow
def test_a_collision_in_mlflows_database_is_retried(
    registry: Registry, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, _ = two_versions(registry, name, tmp_path)
    calls, original = [0], MlflowClient.set_registered_model_alias

    def collide(*args: Any) -> None:
        calls[0] += 1
        if calls[0] < 3:
            raise MlflowException("UNIQUE constraint failed: registered_model_aliases.alias")
        original(*args)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", collide)
    promote(registry, version)
    assert held_by_stage_and_alias(registry, name, "Staging") == ([1], [1])
    calls[0] = -100
    with pytest.raises(MlflowException, match="UNIQUE"):
        promote(registry, registry.versions(name)[1])


def test_one_of_two_concurrent_moves_wins_and_both_are_recorded(
    registry: Registry, name: str, tmp_path: Path
) -> None:
    versions = two_versions(registry, name, tmp_path)
    barrier, found = threading.Barrier(2), {}

    def run(version: ModelVersion) -> None:
        own = Registry(registry._uri)
        barrier.wait()
        found[version.version] = promote(own, version)

    threads = [threading.Thread(target=run, args=[version]) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = read_moves(registry, name)
    assert sorted(move.version for move in kept) == [1, 2]
    last = kept[-1].version
    assert held_by_stage_and_alias(registry, name, "Staging") == ([last], [last])
    assert kept[-1].state == "done"
    winner = found[last]
    assert winner is not None
    assert winner.version == last


class Store:
    """An in-memory MLflow registry with one model; every call first waits for its turn."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self.wait = wait
        self.model_tags: dict[str, str] = {}
        self.stages = {"1": "None", "2": "None", "3": "Staging"}
        self.aliases = {"staging": "3"}

    def get_registered_model(self, name: str) -> Any:
        self.wait()
        return SimpleNamespace(tags=dict(self.model_tags), aliases=dict(self.aliases))

    def set_registered_model_tag(self, name: str, key: str, value: str) -> None:
        self.wait()
        self.model_tags[key] = value

    def search_model_versions(self, query: str, **more: Any) -> Any:
        self.wait()
        found = [
            SimpleNamespace(name="m", version=n, current_stage=stage, run_id="r", tags={})
            for n, stage in self.stages.items()
        ]
        return type("Page", (list,), {"token": None})(found)

    def transition_model_version_stage(
        self, name: str, number: str, stage: str, **more: Any
    ) -> None:
        self.wait()
        for other, held in self.stages.items():
            if held == stage:
                self.stages[other] = "Archived"
        self.stages[number] = stage

    def set_registered_model_alias(self, name: str, alias: str, number: str) -> None:
        self.wait()
        self.aliases[alias] = number

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        self.wait()
        del self.aliases[alias]


class Turns:
    """Uses a list of turns to decide which of two threads makes the next call."""

    def __init__(self, turns: list[bool]) -> None:
        self._turns = turns
        self._changed = threading.Condition()
        self._ended: set[bool] = set()
        self.local = threading.local()

    def wait(self) -> None:
        me = getattr(self.local, "me", None)
        if me is None:
            return
        with self._changed:
            self._changed.wait_for(
                lambda: not self._turns or self._turns[0] == me or self._turns[0] in self._ended
            )
            if self._turns:
                self._turns.pop(0)
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._ended.add(self.local.me)
            self._changed.notify_all()


@settings(max_examples=200)
@given(st.lists(st.booleans(), max_size=60))
def test_stage_and_alias_follow_the_newest_move_for_any_interleaving(
    turns: list[bool],
) -> None:
    order = Turns(list(turns))
    store = Store(order.wait)
    with patch("storage.tracking.client.connect", return_value=store):
        registry = Registry("memory")
    versions = registry.versions("m")

    def run(me: bool) -> None:
        order.local.me = me
        try:
            promote(registry, versions[int(me)])
        finally:
            order.end()

    threads = [threading.Thread(target=run, args=[me]) for me in (False, True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = read_moves(registry, "m")
    assert len(kept) == 2
    newest = kept[-1].version
    assert held_by_stage_and_alias(registry, "m", "Staging") == ([newest], [newest])
    assert kept[-1].state == "done"
    assert kept[0].state in {"done", "overtaken"}

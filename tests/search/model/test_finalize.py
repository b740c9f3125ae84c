"""All notes on a champion are about the same champion."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from shop import GOOD, table

from search.model.finalize import Finalizer
from search.study.notes import ChampionNote, StudyNotes, VersionNote
from search.study.problem import create_study, initialize_study, load_problem
from search.study.spec import StudySpec
from storage.records import TrialRecord
from storage.studies.study import Study


class Scene:
    """A study whose champions are made but not registered."""

    def __init__(self, tmp_path: Path) -> None:
        spec = StudySpec.model_validate(
            {"data": table(200), "target": "price", "trees": 10, "register": False, "workers": 1}
        )
        problem = load_problem(spec)
        self.study: Study = create_study(problem, f"sqlite:///{tmp_path}/optuna.db")
        initialize_study(problem, self.study)
        mirror_writer = cast("Any", SimpleNamespace(mirror=None))
        self.finalizer = Finalizer(
            problem, self.study, mirror_writer, lambda: None, self.study.write
        )

    def finalize(self, number: int) -> StudyNotes:
        """Finalize a trial; return the notes."""
        best = TrialRecord(number, "COMPLETE", GOOD, value=1.0, enough_steps=10)
        assert self.finalizer.finalize(best).model_fields_set == {"champion"}
        return self.study.read(StudyNotes)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.study.book.rdb.remove_session()
    scene.study.book.rdb.engine.dispose()


def test_hold_out_scores_and_findings_are_noted_with_their_champion(scene: Scene) -> None:
    notes = scene.finalize(3)
    assert notes.champion == ChampionNote(name="frame", trial=3, trees=10)
    assert notes.holdout is not None
    assert notes.holdout["rmse"] > 0
    found = notes.findings
    assert found is not None
    assert {name for name, _ in found.importance} == {"size", "age", "street"}
    assert found.true is not None
    assert found.predicted is not None
    assert len(found.true) == len(found.predicted) > 10
    assert "model" not in notes.model_fields_set


def test_the_note_on_a_version_of_another_champion_is_removed(scene: Scene) -> None:
    version = VersionNote(name="frame", trial=3, trees=10, version=1)
    scene.study.write(StudyNotes(model=version))
    assert scene.finalize(3).model == version
    assert scene.finalize(5).model is None

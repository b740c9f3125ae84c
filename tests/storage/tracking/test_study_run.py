"""The study's own run: its note and its report."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from examples import study_record
from mlflow import MlflowClient

from storage.records import StudyRecord
from storage.tracking.mirror import Mirror

PAGE = {"report.html": b"<p>a page</p>", "history.png": b"PNG"}


@dataclass
class Scene:
    """A study and its store; it counts the created reports."""

    tracking_uri: str
    experiment: str
    study: StudyRecord = field(default_factory=lambda: replace(study_record(), note="a note"))
    made: int = 0
    broken: bool = False
    seen: list[tuple[str, str]] = field(default_factory=list)

    def report(self) -> dict[str, bytes]:
        self.made += 1
        (run,) = MlflowClient(self.tracking_uri).search_runs(["1"])
        self.seen.append((run.info.status, str(run.data.tags["mlflow.note.content"])[:6]))
        if self.broken:
            raise ValueError("no plot today\nand more")
        return PAGE

    def adopted(self, *, thoroughly: bool = False) -> Mirror:
        mirror = Mirror(self.tracking_uri, self.experiment, self.report)
        mirror.connect()
        mirror.adopt(self.study, thoroughly=thoroughly)
        return mirror

    def kept(self, mirror: Mirror) -> set[str]:
        found = MlflowClient(self.tracking_uri).list_artifacts(mirror.run_id, "report")
        return {Path(file.path).name for file in found}

    def note(self, mirror: Mirror) -> str:
        run = MlflowClient(self.tracking_uri).get_run(mirror.run_id)
        return str(run.data.tags["mlflow.note.content"])


@pytest.fixture
def scene(mlflow_file: str) -> Scene:
    return Scene(mlflow_file, "houses")


def test_a_study_that_has_not_ended_has_no_report(scene: Scene) -> None:
    mirror = scene.adopted()
    for state in ("running", "interrupted", "failed", "lost"):
        mirror.write_study(replace(scene.study, state=state))
    assert (scene.made, scene.kept(mirror)) == (0, set())
    assert "report" not in scene.note(mirror)


@pytest.mark.parametrize("state", ["finished", "stopped"])
def test_an_ended_study_has_a_report_and_a_link_in_its_note(scene: Scene, state: str) -> None:
    mirror = scene.adopted()
    ended = replace(scene.study, state=state)
    mirror.write_study(ended)
    assert scene.kept(mirror) == set(PAGE)
    link = f"[report](#/experiments/{mirror.experiment_id}/runs/{mirror.run_id}/artifacts/report/"
    # The status and the note are written before the report, which takes long and may fail.
    assert scene.seen == [("FINISHED" if state == "finished" else "KILLED", "a note")]
    assert scene.note(mirror).startswith("a note\n\n")
    assert link in scene.note(mirror)
    mirror.write_study(ended)
    again = scene.adopted()
    again.write_study(ended)
    assert scene.made == 1
    again.write_study(replace(ended, note="another note"))
    assert scene.made == 2


def test_a_thorough_adoption_restores_a_deleted_report(scene: Scene) -> None:
    ended = replace(scene.study, state="finished")
    mirror = scene.adopted()
    mirror.write_study(ended)
    for page in Path.cwd().rglob("report.html"):
        page.unlink()
    scene.adopted().write_study(ended)
    assert scene.made == 1
    scene.adopted(thoroughly=True).write_study(ended)
    assert scene.made == 2
    assert scene.kept(mirror) == set(PAGE)


def test_a_failing_report_is_logged_and_does_not_block_the_study(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.broken = True
    mirror = scene.adopted()
    mirror.write_study(replace(scene.study, state="finished"))
    ours = [one.getMessage() for one in caplog.records if one.name.startswith("storage")]
    assert ours == [
        "the report was not stored with the run (no plot today): `grovekeeper sync` tries again"
    ]
    assert MlflowClient(scene.tracking_uri).get_run(mirror.run_id).info.status == "FINISHED"
    scene.broken = False
    mirror.write_study(replace(scene.study, state="finished"))
    assert scene.kept(mirror) == set(PAGE)

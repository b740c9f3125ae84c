"""Disks and folders that a launch does not expect, and commands that run at once."""

import json
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from checker import check
from conftest import SHORT_TIMEOUT, STUDY, Workspace
from mlflow import MlflowClient
from processes import COMMAND, INSTALLED, environment, run_program

MEGABYTE = 1_000_000
SHORT_TIMEOUTS = [
    SHORT_TIMEOUT,
    {"set": "search.model.registration:_TIMEOUT", "to": 2.0},
    {"set": "search.service.launch:_MIRROR_TIMEOUT", "to": 2.0},
]
ODD_NAME = "größe 100% #1 ?a=b&c [x] 'q'"


# Copies of study 1 without its trials, and of version 1.
MANY_STUDIES = """
    create temporary table n as
        with recursive n(k) as (select 2 union all select k + 1 from n where k <= 300)
        select k from n;
    insert into studies (study_id, study_name) select k, 'copy-' || k from n;
    insert into study_directions (direction, study_id, objective)
        select direction, k, objective from study_directions, n;
    insert into study_user_attributes (study_id, key, value_json)
        select k, key, case key when 'grovekeeper:uid' then '"' || k || '"' else value_json end
        from study_user_attributes, n;
"""
MANY_VERSIONS = """
    create temporary table n as
        with recursive n(k) as (select 2 union all select k + 1 from n where k < 2000)
        select k from n;
    create temporary table v as select * from model_versions;
    create temporary table t as select * from model_version_tags;
    update v set version = 0;
    update t set version = 0;
    insert into model_versions select {version} from v, n;
    insert into model_version_tags select {tag} from t, n;
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Return a function that mounts a file system of so many bytes, or changes its size."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size: int) -> Path:
        options = f"size={size}" + (",remount" if folder.is_mount() else "")
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)  # noqa: S607
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", folder], check=True)  # noqa: S607


@pytest.mark.parametrize(
    ("room", "trials", "options"),
    [(MEGABYTE, 200, []), (900_000, 8, ["--trees", "1000"])],
    ids=["during the search", "while the champion is saved"],
)
def test_a_disk_that_fills_up_is_reported_and_the_study_continues_later(
    room: int,
    trials: int,
    options: list[str],
    make_workspace: Callable[..., Workspace],
    small_disk: Callable[[int], Path],
) -> None:
    folder = small_disk(100 * MEGABYTE)
    workspace = make_workspace(folder, trials=trials)
    used = sum(file.stat().st_blocks * 512 for file in folder.rglob("*"))
    small_disk(used + room)
    output = workspace.run(*options, expect=1, faults=SHORT_TIMEOUTS)
    assert "No space left" in output or "full" in output
    small_disk(100 * MEGABYTE)
    workspace.run(*options)
    workspace.check()


def test_six_studies_are_launched_at_once_in_an_empty_folder(
    make_workspace: Callable[..., Workspace],
) -> None:
    workspace = make_workspace(trials=4)
    for store in workspace.folder.glob("*.db"):
        store.unlink()
    options = ["--data", "houses.csv", "--trials", "4", "--trees", "10", "--workers", "1"]
    launches = [workspace.start("launch", f"s{place}", *options) for place in range(6)]
    for launch in launches:
        assert launch.wait() == 0, launch.output()
    for place in range(6):
        check(workspace.storage, workspace.tracking_uri, f"s{place}", 4)


def test_two_promotions_at_once_leave_one_version_in_the_stage(workspace: Workspace) -> None:
    workspace.run()
    workspace.run("launch", "again", "--data", "houses.csv", "--model", STUDY, "--trials", "3")
    moves = [workspace.start("promote", STUDY, "--version", version) for version in "12"]
    codes = [move.wait() for move in moves]
    assert 0 in codes, [move.output() for move in moves]
    for move, code in zip(moves, codes, strict=True):
        assert code in {0, 1, 3}, move.output()
        assert "Traceback" not in move.output()
    client = MlflowClient(workspace.tracking_uri)
    versions = client.search_model_versions(f"name = '{STUDY}'")
    staged = [version for version in versions if version.current_stage == "Staging"]
    assert len(staged) == 1
    alias = client.get_model_version_by_alias(STUDY, "staging")
    assert alias.version == staged[0].version
    last = json.loads(workspace.run("history", STUDY, "--json"))["moves"][-1]
    assert str(last["version"]) == str(alias.version)


def test_the_stores_hold_300_studies_and_2000_versions(workspace: Workspace) -> None:
    workspace.run()
    with closing(sqlite3.connect(workspace.folder / "optuna.db")) as database:
        database.executescript(MANY_STUDIES)
    with closing(sqlite3.connect(workspace.folder / "mlflow.db")) as database:

        def columns(table: str) -> str:
            names = [row[1] for row in database.execute(f"pragma table_info({table})")]
            return ", ".join("k" if name == "version" else name for name in names)

        version, tag = columns("model_versions"), columns("model_version_tags")
        database.executescript(MANY_VERSIONS.format(version=version, tag=tag))
    studies = json.loads(workspace.run("studies", "--json"))
    assert len(studies) == 301
    assert {study["state"] for study in studies} == {"finished"}
    workspace.run("launch", "another", "--data", "houses.csv", "--model", STUDY, "--trials", "3")
    client = MlflowClient(workspace.tracking_uri)
    assert client.get_model_version(STUDY, "2001").tags["grovekeeper.study"] == "another"
    workspace.run("promote", STUDY, "--version", "1000")
    workspace.run("promote", STUDY, "--version", "2001", "--force", "--reason", "newer")
    assert json.loads(workspace.run("history", STUDY, "--json"))["moves"][-1]["version"] == 2001
    workspace.run("rollback", STUDY)
    assert str(client.get_model_version_by_alias(STUDY, "staging").version) == "1000"


def test_the_whole_way_in_a_folder_with_an_odd_name(
    make_workspace: Callable[..., Workspace], tmp_path: Path
) -> None:
    folder = tmp_path / ODD_NAME
    workspace = make_workspace(folder)
    for store in workspace.folder.glob("*.db"):
        store.unlink()
    (folder / "houses.csv").rename(folder / "haus #2 50%.csv")

    def run(*arguments: str) -> str:
        done = run_program([COMMAND, *arguments], folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("launch", "s", "--data", "haus #2 50%.csv", "--trials", "3", "--trees", "10")
    run("promote", "haus-2-50")
    assert json.loads(run("reproduce", "haus-2-50", "--json"))["reproduced"]
    run("report", "s", "-o", "bericht #1.html")
    assert (folder / "bericht #1.html").exists()
    assert [line.split()[0] for line in run("studies").splitlines()][1:] == ["s"]
    run("sync", "s")
    assert sorted(path.name for path in folder.glob("*.db")) == ["mlflow.db", "optuna.db"]


def test_a_reader_that_stops_early_is_no_error(workspace: Workspace) -> None:
    workspace.run()
    stores = ["--storage", workspace.storage, "--tracking-uri", workspace.tracking_uri]
    for command in ("show houses", "show houses --json", "--help", "studies"):
        with subprocess.Popen(
            [COMMAND, *stores, *command.split()],
            cwd=workspace.folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == b"", command


def test_a_folder_without_write_permission_is_named_in_one_line(
    make_workspace: Callable[..., Workspace],
) -> None:
    folder = make_workspace().folder
    for store in folder.glob("*.db"):
        store.unlink()
    folder.chmod(0o500)
    # The bits count even for root without these capabilities.
    user = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    done = run_program([*user, INSTALLED, "launch", "--data", "houses.csv"], folder)
    folder.chmod(0o700)
    assert done.returncode == 1
    assert "cannot write mlflow.db: no permission" in done.stderr.splitlines()[-1]

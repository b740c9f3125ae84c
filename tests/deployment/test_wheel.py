"""The wheel: what is in it, and that it runs outside of the checkout."""

import json
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from processes import environment

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip(folder, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    (built,) = folder.glob("grovekeeper-*.whl")
    return built


def pip(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_holds_the_two_packages_with_what_they_need(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {"search", "storage"} < tops
    assert all(top in {"search", "storage"} or top.endswith(".dist-info") for top in tops)
    assert "search/study/study.schema.json" in names
    for package in ("search", "storage"):
        kept = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py")}
        assert kept <= set(names)


@pytest.mark.slow
def test_it_runs_where_there_is_no_checkout(wheel: Path, tmp_path: Path) -> None:
    installed, folder = tmp_path / "installed", tmp_path / "work"
    folder.mkdir()
    pip(folder, "install", "--no-deps", "--target", str(installed), str(wheel))
    here = environment() | {"PYTHONPATH": str(installed)}

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=folder, env=here, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = run(sys.executable, "-c", "import search, storage; print(search.__file__)")
    assert where.startswith(str(installed))
    command = str(installed / "bin" / "grovekeeper")
    summary = json.loads(run(command, "launch", "--trials", "2", "--no-register", "--json"))
    assert summary["state"] == "finished"
    assert summary["mirror"] == {"runs": 2, "behind": 0}

"""The wheel: its content, and that it runs outside of the checkout."""

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


PACKAGES = ("grovekeeper", "search", "storage")


@pytest.mark.slow
def test_it_contains_the_three_packages_and_their_data_files(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert set(PACKAGES) < tops
    assert all(top in PACKAGES or top.endswith(".dist-info") for top in tops)
    assert {"search/study/study.schema.json", "search/report/page.html.jinja"} <= set(names)
    for package in PACKAGES:
        kept = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py")}
        assert f"{package}/py.typed" in names
        assert kept <= set(names)


@pytest.mark.slow
def test_it_runs_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
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

    where = run(sys.executable, "-c", "import grovekeeper; print(grovekeeper.__file__)")
    assert where.startswith(str(installed))
    command = str(installed / "bin" / "grovekeeper")
    summary = json.loads(run(command, "launch", "--trials", "2", "--no-register", "--json"))
    assert summary["state"] == "finished"
    assert summary["mirror"] == {"runs": 2, "behind": 0}

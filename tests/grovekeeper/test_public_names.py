"""The public package: all names importable, quick to import, and clear errors when shadowed."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

import grovekeeper
import search
import storage

HEAVY = ("mlflow", "sklearn", "skrub", "optuna", "distributed", "pandas", "numpy", "sqlalchemy")
ROOT = Path(grovekeeper.__file__).parent.parent


def python(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_public_names_of_both_packages_are_exported() -> None:
    assert set(grovekeeper.__all__) == {*search.__all__, *storage.__all__, "__version__"}
    assert grovekeeper.__all__ == sorted(grovekeeper.__all__)
    assert set(grovekeeper.__all__) <= set(dir(grovekeeper))


@pytest.mark.parametrize("name", grovekeeper.__all__)
def test_every_public_name_can_be_imported(name: str, tmp_path: Path) -> None:
    if name == "__version__":
        assert grovekeeper.__version__ == importlib.metadata.version("grovekeeper")
    else:
        home = storage if name in storage.__all__ else search
        assert getattr(grovekeeper, name) is getattr(home, name)


def test_unknown_names_raise_the_usual_errors() -> None:
    with pytest.raises(AttributeError, match="module 'grovekeeper' has no attribute 'lunch'"):
        grovekeeper.__getattr__("lunch")
    with pytest.raises(ImportError, match="lunch"):
        from grovekeeper import lunch  # type: ignore[attr-defined]  # noqa: F401


def test_importing_the_package_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, grovekeeper; dir(grovekeeper);"
        f"print(sorted({{*{HEAVY!r}, 'search', 'storage'}} & set(sys.modules)))"
    )
    done = python(tmp_path, "-c", code)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_package_runs_as_a_command(tmp_path: Path) -> None:
    done = python(tmp_path, "-m", "grovekeeper", "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"grovekeeper {grovekeeper.__version__}\n"


@pytest.fixture(params=["search", "storage"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["a folder", "a file"])
def shadowing(request: pytest.FixtureRequest, name: str, tmp_path: Path) -> Path:
    """Return a package or a module in `tmp_path` that has the name of one of our packages."""
    if request.param == "a file":
        path = tmp_path / f"{name}.py"
        path.write_text("raise RuntimeError('imported')\n")
        return path
    path = tmp_path / name
    path.mkdir()
    (path / "__init__.py").write_text("raise RuntimeError('imported')\n")
    return path


def test_the_import_error_names_the_shadowing_path(shadowing: Path, name: str) -> None:
    done = python(shadowing.parent, "-c", "from grovekeeper import launch")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: {shadowing} shadows Grovekeeper's package '{name}'; rename it, run from "
        "another folder, or uninstall the distribution that it belongs to"
    )


def test_the_command_prints_one_line_about_the_shadowing_path(shadowing: Path, name: str) -> None:
    done = python(shadowing.parent, "-m", "grovekeeper", "--help")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"grovekeeper: {shadowing} shadows Grovekeeper's package '{name}'; ")


def test_the_console_script_prints_the_same_line(shadowing: Path, name: str) -> None:
    script = shadowing.parent / "bin" / "grovekeeper"
    script.parent.mkdir()
    script.write_text("import sys\nfrom grovekeeper.__main__ import main\nsys.exit(main())\n")
    code = f"import sys; sys.argv = [{str(script)!r}]; exec(open(sys.argv[0]).read())"
    done = python(shadowing.parent, "-c", code)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"grovekeeper: {shadowing} shadows")
    assert done.stderr.count("\n") == 1


def test_a_folder_of_data_shadows_nothing(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    assert python(tmp_path, "-m", "grovekeeper", "--version").returncode == 0


def test_a_missing_package_is_reported(tmp_path: Path) -> None:
    (tmp_path / "grovekeeper").mkdir()
    for path in (ROOT / "grovekeeper").glob("*.py"):
        (tmp_path / "grovekeeper" / path.name).write_text(path.read_text())
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import grovekeeper"
    done = python(tmp_path, "-I", "-S", "-c", code)  # -S: without site-packages
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: package 'search' is missing in {tmp_path}; reinstall grovekeeper"
    )
